/* The figure of the front page that one can move: a target by level at tau and alpha, and what KD gains there.
   Its data is JSON inside the page; without this script a picture stands in its place. */
(() => {
  const el = (name, attrs = {}, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const minus = (x, d = 1) => x.toFixed(d).replace("-", "−");
  const svg = (w, h, label) => el("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": label });
  const text = (x, y, words, more = {}) => el("text", { x, y, "font-size": 12, fill: "currentColor", ...more }, words);

  function bars(d, i, alpha) {
    const W = 460, H = 230, top = 34, base = 190, left = 34, target = d.targets[i];
    const mass = target[2].reduce((a, b) => a + b) * alpha;
    const most = Math.max(...target.flat()) || 1, step = (W - left) / d.classes.length;
    const s = svg(W, H, `Target at tau ${d.taus[i]}, alpha ${alpha}: ${(100 * mass).toFixed(0)} percent leave the label ${d.label}`);
    s.append(text(0, 12, `τ = ${d.taus[i]}, α = ${alpha}: ${(100 * mass).toFixed(1)} % of the target leave the label “${d.label}”`));
    s.append(text(0, top, `${(100 * most * alpha).toPrecision(2)} %`, { "font-size": 11 }), text(0, base, "0"));
    d.classes.forEach((name, k) => {
      target.forEach((level, j) => {
        const h = (base - top) * level[k] / most;
        const bar = el("rect", { x: left + step * (k + 0.08 + 0.28 * j), y: base - h, width: step * 0.27, height: h, fill: d.colours[j] });
        bar.append(el("title", {}, `${name}, ${d.names[j]}: ${(100 * alpha * level[k]).toFixed(2)} %`));
        s.append(bar);
      });
      s.append(text(left + step * (k + 0.5), base + 13, name, { "text-anchor": "middle", "font-size": step < 26 ? 9 : 11 }));
    });
    d.names.forEach((name, j) => s.append(
      el("rect", { x: left + 110 * j, y: H - 18, width: 11, height: 11, fill: d.colours[j] }),
      text(left + 110 * j + 16, H - 8, name)));
    return s;
  }

  function curve(points, value, log, label) {
    const W = 230, H = 230, top = 34, base = 190, left = 34, right = W - 8;
    const at = log ? Math.log2 : x => x, xs = points.map(p => at(p[0]));
    const low = Math.min(0, ...points.map(p => p[2])), high = Math.max(0, ...points.map(p => p[3]));
    const X = x => left + 6 + (right - left - 12) * (at(x) - Math.min(...xs)) / (Math.max(...xs) - Math.min(...xs) || 1);
    const Y = y => base - (base - top) * (y - low) / (high - low || 1);
    const now = points.reduce((a, b) => Math.abs(at(b[0]) - at(value)) < Math.abs(at(a[0]) - at(value)) ? b : a);
    const said = `${label} = ${now[0]}: ${minus(now[1])} [${minus(now[2])}, ${minus(now[3])}] points`;
    const s = svg(W, H, `KD minus hard labels at ${said}`);
    s.append(text(0, 12, said), text(0, Y(0) + 4, "0"), text(0, Y(high) + 4, minus(high), { "font-size": 11 }));
    s.append(el("line", { x1: left, x2: right, y1: Y(0), y2: Y(0), stroke: "currentColor", "stroke-width": 0.8 }));
    s.append(el("polyline", { points: points.map(p => `${X(p[0])},${Y(p[1])}`).join(" "), fill: "none", stroke: "#8a4fbf", "stroke-width": 1.5 }));
    points.forEach(p => {
      const chosen = p === now;
      s.append(el("line", { x1: X(p[0]), x2: X(p[0]), y1: Y(p[2]), y2: Y(p[3]), stroke: "#8a4fbf" }));
      s.append(el("circle", { cx: X(p[0]), cy: Y(p[1]), r: chosen ? 7 : 3, fill: chosen ? "#d55e00" : "#8a4fbf" }));
      s.append(text(X(p[0]), base + 13, p[0], { "text-anchor": "middle", "font-size": 11 }));
    });
    s.append(text((left + right) / 2, H - 8, label, { "text-anchor": "middle" }));
    return s;
  }

  function slider(name, values, start, change) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "range", min: 0, max: values.length - 1, step: 1, value: start });
    const told = () => input.setAttribute("aria-valuetext", `${name} ${values[input.value]}`);
    input.addEventListener("input", () => { told(); change(); });
    told();
    label.append(`${name} `, input);
    return [label, input];
  }

  addEventListener("DOMContentLoaded", () => document.querySelectorAll(".kd-hero").forEach(figure => {
    const d = JSON.parse(figure.querySelector("script").textContent), live = figure.querySelector(".kd-hero-live");
    const alphas = d.alpha.map(p => p[0]), controls = document.createElement("div"), views = document.createElement("div");
    const draw = () => views.replaceChildren(
      bars(d, +tau.value, alphas[alpha.value]),
      curve(d.tau, d.taus[tau.value], true, "τ"), curve(d.alpha, alphas[alpha.value], false, "α"));
    const [tauLabel, tau] = slider("τ", d.taus, Math.max(0, d.taus.indexOf(4)), draw);
    const [alphaLabel, alpha] = slider("α", alphas, Math.max(0, alphas.indexOf(0.9)), draw);
    controls.className = "kd-hero-controls";
    views.className = "kd-hero-views";
    controls.append(tauLabel, alphaLabel);
    live.append(controls, views);
    live.hidden = false;
    figure.querySelector("img").hidden = true;
    draw();
  }));
})();
