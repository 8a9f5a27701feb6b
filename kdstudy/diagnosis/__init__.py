"""What somebody's teacher can tell, and what is wrong with its logits: `diagnose` trains nothing.

Not here: its figures and its page (figures), its command (cli), the fit of its limits (study.calibration).
Read first: `api`, then `statistics.all`, then `rules`.
"""

from kdstudy.diagnosis.api import DiagnosisReport, diagnose, diagnose_file
from kdstudy.diagnosis.inputs import Unusable

__all__ = ["DiagnosisReport", "Unusable", "diagnose", "diagnose_file"]
