// @ts-check
// Words and figures beside the picture. Text is always inserted as text, never as markup.

const MARKS = { satisfied: "✓\u00a0kept", violated: "✗\u00a0not\u00a0kept", "not applicable": "–\u00a0does not apply" };
/** @type {Record<string, string>} */
const DESIDERATA = {
  D1: "cells keep their mass",
  D2: "higher scores get no less",
  D3: "equal steps, equal ratios",
  D4: "a cell on its own",
  D5: "no jump between cells",
};
// What each upsampler is made to keep; the others only fill in.
/** @type {Partial<Record<Method, string>>} */
const PROMISES = {
  usu: "the mass of each cell, the order of scores within it and that nothing outside it matters (D1 to D4)",
  "usu-continuous": "the mass of each cell, without jumps between cells (D1 and D5)",
  iwmr: "the total of the coarse map, and the order of scores within a cell (D2)",
  "iwmr-continuous": "the total of the coarse map, without jumps between cells (D5)",
  hybrid: "the total of the coarse map, of each sign, and the order of scores within a cell (D2)",
  "hybrid-continuous": "the total of the coarse map, of each sign, without jumps between cells (D5)",
  "total-conserving": "the total of the coarse map, of each sign, without jumps between cells (D5)",
  conserving: "the mass of each cell, without jumps between cells (D1 and D5)",
  nearest: "the cells as they are",
};
const MOST_BARS = 6;

/** @template {keyof Elements} K @param {K} id @returns {Elements[K]} */
const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {string} [text] @param {string} [className] @returns {HTMLElementTagNameMap[K]} */
function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** @param {number | string} value */
function short(value) {
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replaceAll("-", "−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

/** @param {number} share @param {number} [digits] */
const percent = (share, digits = 3) => `${short(Number((100 * share).toPrecision(digits)))} %`;

/** @param {HTMLSelectElement} select @param {readonly (readonly [string | number, string])[]} pairs @param {string | number} chosen */
function options(select, pairs, chosen) {
  const key = JSON.stringify(pairs);
  if (select.dataset.options !== key) {
    select.replaceChildren(...pairs.map(([value, text]) => new Option(text, String(value))));
  }
  select.dataset.options = key;
  select.value = String(chosen);
}

/** @param {HTMLElement} list @param {(readonly [string, string])[]} rows */
function definitions(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

/** @param {Explanation} explanation */
function fillHead({ plain }) {
  const parts = [
    plain.title === plain.target ? null : plain.target,
    plain.model,
    `${plain.source}, ${plain.cellsTitle}`,
  ];
  byId("title").textContent = plain.title;
  byId("subtitle").textContent = parts.filter(Boolean).join(" · ");
}

/** @param {Explanation} explanation */
function fillFacts({ plain, partitions }) {
  const recorded = plain.recordedMode === "complete" ? "complete (shared as USU)" : TITLES[plain.mode];
  /** @type {[string, string][]} */
  const rows = [
    ["target", plain.title === plain.target ? plain.target : `${plain.title}, ${plain.target}`],
    ["answer", plain.answer || "not recorded"],
    ["model", plain.model ?? "not recorded"],
    ["coarse map", `${plain.source}, ${plain.cellsTitle}${plain.layer ? `, layer ${plain.layer}` : ""}`],
    ["pixels", plain.size.join(" × ")],
    ["mode", recorded],
    ["parts", partsWords(partitions)],
    ["passes", `${plain.forwardPasses} through the network, for the coarse map and the parts; a gradient counts as two`],
    ["versions", Object.entries(plain.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  definitions(byId("facts"), plain.name ? [["name", plain.name], ...rows] : rows);
}

// Segments by hierarchy and depth. Those that two depths or hierarchies share are scored once.
/** @param {Part[]} partitions */
function partsWords(partitions) {
  const trees = [...new Set(partitions.map(({ number }) => number))].map((number) => {
    const own = partitions.filter((part) => part.number === number);
    return `${own.map(({ count }) => count).join(" + ")} by ${own[0].tree}`;
  });
  return trees.length ? `${countOf(partitions)} segments: ${trees.join(", ")}; equal ones tried once` : "none";
}

// The call that makes the map as shown. Owen values and interpolations have no mode of their own here.
/** @param {Explanation} explanation @param {State} state */
function callText({ plain, depths }, { method, temperature, importanceTemperature, depth }) {
  const base = method.replace(CONTINUOUS, "");
  const fixed = plain.recordedMode === "complete" || !REDISTRIBUTIONS.includes(method);
  const made = method === "recorded" || (plain.recordedMode === "complete" && base === "usu");
  const by = fixed && !made ? `.upsampled_by('${base}')` : "";
  /** @type {Record<string, string>} */
  const shown = { ...plain.call.arguments, mode: `'${fixed ? plain.recordedMode : base}'`, temperature: String(temperature) };
  if (importanceTemperature !== null) shown.importance_temperature = String(importanceTemperature);
  if (MODES.includes(base) && (base !== method) !== plain.call.continuous) {
    shown.continuous = base === method ? "False" : "True";
  }
  if (depth < depths) shown.segmentation = firstDepths(plain, depth);
  const named = Object.entries(shown).map(([name, value]) => `${name}=${value}`);
  return `${[plain.call.head, ...named].join(", ")})${by}`;
}

// Segments of the first depths, as Python: counts by method, or the user's own hierarchies, which a record does not hold.
/** @param {Plain} plain @param {number} depth */
function firstDepths({ call, settings }, depth) {
  /** @param {string} hierarchy */
  const cut = (hierarchy) => `usu.Hierarchy(${hierarchy}.levels[:${depth}], ${hierarchy}.method)`;
  if (Array.isArray(settings.segmentation)) return `[${cut("each")} for each in segmentation]`;
  if (call.arguments.segmentation === "segmentation") return cut("segmentation");
  const counts = Object.entries(settings.segmentation).map(([name, all]) => `'${name}': [${all.slice(0, depth).join(", ")}]`);
  return `{${counts.join(", ")}}`;
}

/** @param {Explanation} explanation @param {Method[]} shown */
function fillVerdicts(explanation, shown) {
  const { plain, methods } = explanation;
  const verdicts = plain.verdicts ?? {};
  const rows = methods.filter((method) => verdicts[method]);
  const measured = Object.keys(DESIDERATA).filter((name) => rows.some((method) => verdicts[method]?.[name]));
  byId("verdicts-head").replaceChildren(...["upsampler", ...measured].map((name) => verdictHead(name)));
  byId("verdicts").replaceChildren(
    ...rows.map((method) => {
      const row = element("tr", "", shown.includes(method) ? "shown" : "");
      const head = element("th", titleOf(explanation, method));
      head.scope = "row";
      row.append(head, ...measured.map((name) => verdictCell(verdicts[method]?.[name])));
      return row;
    }),
  );
  byId("verdicts-table").hidden = byId("promise").hidden = !rows.length;
  byId("promise").textContent = promiseWords(explanation, rows.filter((method) => shown.includes(method)));
  byId("verdicts-note").textContent = rows.length ? verdictWords(plain) : "Not measured for this page; the D1 error is live.";
  const reasons = rows
    .filter((method) => shown.includes(method))
    .flatMap((method) => measured.map((name) => ({ method, name, witness: verdicts[method]?.[name]?.witness })))
    .filter(({ witness }) => witness);
  byId("witnesses").replaceChildren(
    ...reasons.map(({ method, name, witness }) => element("li", `${titleOf(explanation, method)}, ${name}: ${witness}`)),
  );
}

// What the maps shown promise; without it a row of crosses would look like a fault.
/** @param {Explanation} explanation @param {Method[]} shown */
function promiseWords(explanation, shown) {
  const promised = shown.map((method) => {
    const what = PROMISES[method];
    return `${titleOf(explanation, method)} promises ${what ?? "none of these: it fills in between cells"}.`;
  });
  const why = shown.includes("total-conserving")
    ? "Total-conserving is the default because, on 24 pasted photographs, it lay better on the object than bilinear interpolation, and on 24 " +
      "photographs ranked pixels better by insertion; by deletion no difference is shown."
    : "";
  return [...promised, "What is not promised may have a cross below without being at fault.", why].filter(Boolean).join(" ");
}

/** @param {Plain} plain */
function verdictWords({ redistribution: { temperature, importanceTemperature }, further }) {
  const between = importanceTemperature === null ? "" : `, ε_Λ = ${short(importanceTemperature)}`;
  return (
    `Measured on this coarse map and on random ones when the page was made, at ε = ${short(temperature)}${between}; ` +
    "each verdict has below it its largest relative residual over all of these maps. So D1's can be more than the relative " +
    "D1 error under “Sums”, which is that of the map shown alone, and live. The maps shown are marked ▸." +
    `${further.length ? " Of several grids, the first was measured." : ""}`
  );
}

/** @param {string} name */
function verdictHead(name) {
  const head = element("th", name);
  head.scope = "col";
  if (DESIDERATA[name]) head.append(" ", element("small", DESIDERATA[name]));
  return head;
}

/** @param {Finding | undefined} finding */
function verdictCell(finding) {
  if (!finding) return element("td");
  const { verdict, residual, witness } = finding;
  const cell = element("td", MARKS[verdict], verdict.replace(" ", "-"));
  if (residual !== null) cell.append(element("small", short(typeof residual === "number" ? Number(residual.toPrecision(2)) : residual)));
  if (witness) cell.title = witness;
  return cell;
}

/** @param {(readonly [string, Figures])[]} rows @param {number} mass */
function fillFigures(rows, mass) {
  const made = rows.map(([name, { error, relative, total }]) => {
    const row = element("tr");
    const head = element("th", name);
    head.scope = "row";
    row.append(head, ...[error, relative, total].map((value) => element("td", short(value))));
    return row;
  });
  const coarse = element("tr", "", "coarse");
  const head = element("th", "coarse map");
  head.scope = "row";
  coarse.append(head, element("td"), element("td"), element("td", short(mass)));
  byId("figures").replaceChildren(...made, coarse);
}

// What is known about one pixel, and how the mass of its cell was shared.
/** @param {View} view @param {number} pixel */
function fillPixel(view, pixel) {
  const { explanation, state, maps, figures } = view;
  const { cells, masses, plain } = explanation;
  const width = explanation.size[1];
  const [row, column] = [Math.floor(pixel / width), pixel % width];
  const cell = cells.owner[pixel];
  const got = figures.method.sums[cell];
  const scores = explanation.scores(state.depth);
  const compared = maps.other && view.beside === explanation;
  /** @type {[string, string]} */
  const other = [titleOf(explanation, state.other), short(maps.other?.[pixel] ?? NaN)];
  /** @type {[string, string][]} */
  const rows = [
    ["place", `row ${row}, column ${column}`],
    [titleOf(explanation, state.method), `${short(maps.method[pixel])} ${plain.unit}`],
    ...(compared ? [other] : []),
    ["its cell", `${cells.name(cell)}, mass ${short(masses[cell])}; the map gives it ${short(got)}`],
    ["its weight", got === 0 ? "none: its cell has no mass" :
      `${percent(maps.method[pixel] / got)} of the cell (an even share: ${percent(1 / cells.areas[cell])})`],
    ["its score Φ", short(scores[pixel])],
    ...segmentRows(explanation, pixel, state.depth),
  ];
  definitions(byId("pixel"), rows);
  fillShares(view, cell, pixel);
  return `${rows[0][1]}: ${rows[1].join(" ")}; ${rows[compared ? 3 : 2][1]}; score ${short(scores[pixel])}`;
}

/** @param {Explanation} explanation @param {number} pixel @param {number} depth @returns {[string, string][]} */
function segmentRows({ partitions, plain }, pixel, depth) {
  const trees = [...new Set(partitions.map((part) => part.number))];
  return trees.map((number) => {
    const own = partitions.filter((part) => part.number === number && part.depth < depth);
    const steps = own.map((part) => {
      const segment = part.labels[pixel];
      const score = `segment ${segment} of ${part.count}: score ${short(part.scores[segment])}, raw ${short(part.raw[segment])}`;
      return part.depth + 1 < depth ? `${score}${splitWords(part, segment, plain.threshold)}` : score;
    });
    return [own[0].tree, steps.join("\n→ ")];
  });
}

/** @param {Part} part @param {number} segment @param {number | null} threshold */
function splitWords({ parts, strongest: changes }, segment, threshold) {
  if (!parts || !changes) return "";
  const strongest = `max |H| ${short(changes[segment])}`;
  const count = parts[segment];
  if (threshold === null) return count > 1 ? `; split in ${count} (${strongest}; no threshold)` : "; has no finer parts";
  const above = changes[segment] > threshold;
  const against = `${strongest} ${above ? ">" : "≤"} θ = ${short(threshold)}`;
  return count > 1 ? `; split in ${count} (${against})` : `; kept whole (${against})`;
}

/** @param {View} view @param {number} cell @param {number} pixel */
function fillShares({ explanation, partition, maps, figures }, cell, pixel) {
  const { cells } = explanation;
  const total = figures.method.sums[cell];
  const found = new Map();
  for (let at = 0; at < cells.owner.length; at++) {
    if (cells.owner[at] !== cell) continue;
    const segment = partition.labels[at];
    const entry = found.get(segment) ?? { segment, mass: 0, area: 0 };
    entry.mass += maps.method[at];
    entry.area += 1;
    found.set(segment, entry);
  }
  const sorted = [...found.values()].sort((a, b) => Math.abs(b.mass) - Math.abs(a.mass));
  const listed = sorted.slice(0, MOST_BARS);
  const rest = sorted.slice(MOST_BARS);
  byId("shares-title").textContent = `How ${cells.name(cell)} is shared by ${partition.tree}, depth ${partition.depth + 1}`;
  byId("shares").replaceChildren(
    ...listed.map((entry) => shareBar(entry, total, cells.areas[cell], partition, pixel)),
    ...(rest.length ? [element("li", `${rest.length} more: ${percent(sum(rest.map((entry) => entry.mass)) / (total || 1))}`)] : []),
  );
}

/** @param {Share} entry @param {number} total @param {number} cellArea @param {Part} partition @param {number} pixel */
function shareBar({ segment, mass, area }, total, cellArea, partition, pixel) {
  const share = total ? mass / total : 0;
  const item = element("li", "", partition.labels[pixel] === segment ? "own" : "");
  const bar = element("span", "", "bar");
  bar.style.setProperty("--share", String(Math.min(Math.max(share, 0), 1)));
  bar.style.setProperty("--area-share", String(area / cellArea));
  const words = `segment ${segment}, score ${short(partition.scores[segment])}: ${percent(share)} of the mass on ${percent(area / cellArea)} of the area`;
  item.append(bar, element("span", words));
  return item;
}
