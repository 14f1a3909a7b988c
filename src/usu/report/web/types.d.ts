// What the scripts pass to each other, for their check by `tsc`; the page itself does not hold this file.
// All scripts share one scope, as they do when joined.

type Size = [number, number]; // height and width
type Place = { x: number; y: number }; // shares of a picture, 0 to 1
type Box = { left: number; top: number; width: number; height: number };
type Rectangle = { x: number; y: number; width: number; height: number };
type Picture = HTMLImageElement | HTMLCanvasElement;
type Labels = Uint8Array | Uint16Array | Int32Array;
type Numeric = Labels | Float32Array | Float64Array;

// The data in the file, as `usu.report.entry` writes it.

interface Packed {
  kind: keyof typeof KINDS;
  zlib: string;
}
interface PlainGrid {
  shape: number[];
  values: Packed;
}
interface PlainPart {
  tree: string;
  number: number;
  depth: number;
  count: number;
  labels: Packed;
  scores: Packed;
  raw: Packed;
  parts?: Packed;
  strongest?: Packed;
  alpha?: Packed | null;
}
interface Sharing {
  temperature: number;
  importanceTemperature: number | null;
  negative: "same" | "opposite";
  potential: keyof typeof UTILITIES;
}
interface Redistribution extends Sharing {
  reason: string | null;
  recorded: Packed | null;
}
interface Finding {
  verdict: keyof typeof MARKS;
  residual: number | string | null;
  witness: string | null;
}
interface Plain {
  name: string;
  title: string;
  target: string;
  model: string | null;
  probability: number | null;
  answer: string;
  mode: Method;
  recordedMode: string;
  source: string;
  layer: string | null;
  cellsTitle: string;
  unit: string;
  forwardPasses: number;
  versions: Record<string, string>;
  settings: { segmentation: Record<string, number[]> | string[]; scoring?: string; output?: string };
  call: { head: string; arguments: Record<string, string>; continuous: boolean };
  size: Size;
  photograph: string;
  whole: { picture: string; size: Size; box: Box } | null;
  mass: "total" | "density";
  coarse: PlainGrid;
  further: PlainGrid[];
  neighbourhoods: Packed | null;
  scoreMap: { values: Packed; index: Packed };
  kernel: keyof typeof H_KERNELS;
  threshold: number | null;
  mixing: string | null;
  depthReason: string | null;
  partitions: PlainPart[];
  redistribution: Redistribution;
  verdicts: Partial<Record<Method, Record<string, Finding>>> | null;
}

// Maps and figures.

type Method = keyof typeof TITLES;
type Grid = { cells: Cells; masses: Float64Array; smooth?: Record<number, Float64Array> };
type Guess = { part: number; heights: Float64Array[] };
type Run = { from: number; to: number; cell: number; beside: number; start: number; step: number };
type Shared = { pixels: Float64Array; found: boolean };
type Figures = { error: number; relative: number; total: number; mass: number; sums: Float64Array };
type Setting = { temperature: number; importanceTemperature: number | null; depth: number };
type Part = {
  tree: string;
  number: number;
  depth: number;
  count: number;
  key: number;
  labels: Labels;
  scores: Float64Array;
  raw: Float64Array;
  parts?: Float64Array;
  strongest?: Numeric;
  alpha?: Numeric | null;
};
type Taps = [cell: number, weight: number][];
type Kernel = (position: number, cells: number, stretch: number) => Taps;

// What is shown and how.

type Side = 0 | 1; // the compared map, and the map
type Layout = "one" | "split" | "beside";
type Lines = { half: boolean; cells: boolean; segments: boolean; split: boolean };
type State = Setting & { method: Method; other: Method; pixel: number };
interface View {
  all: Explanation[];
  explanation: Explanation;
  beside: Explanation;
  index: number;
  besideIndex: number;
  state: State;
  maps: { method: Float64Array; other: Float64Array | null };
  figures: { method: Figures; other: Figures | null };
  partition: Part;
  sides: Shown[];
  pointed: boolean;
  spoken: boolean;
  judged: Method[] | null;
}
interface Look {
  layout: Layout;
  scaling: "own" | "shared";
  split: number;
  shown: keyof typeof SHOWN;
  colours: { sequential: keyof typeof COLOURS; diverging: keyof typeof COLOURS };
  opacity: number;
  byMagnitude: boolean;
  inColour: boolean;
  loupe: boolean;
  whole: boolean;
  lines: Lines;
}
type Limits = { low: number; high: number; largest: number; peaks?: number; kept?: number };
type Level = { high: number; mass: number; peaks?: number; kept?: number };
type Histogram = { counts: Float64Array; masses: Float64Array; whole: number };
type Opacity = number | { most: number };
interface Layer {
  title: string;
  available: () => boolean;
  note?: () => string;
  values?: () => Float64Array;
  limits?: Limits;
}
interface Shown {
  side: Side;
  values: Float64Array;
  limits: Limits;
  kind: "sequential" | "diverging";
  table: Uint8Array;
  fixed?: Limits;
}
type Bar = Shown & { words: string; ends: [string, string]; opacity: Opacity };
type Share = { segment: number; mass: number; area: number };
type Half = { path: Path2D; share: number; area: number };
interface Ground {
  picture: Picture;
  size: Size;
  box: Box;
  grey?: HTMLCanvasElement;
}
type StageSide = { explanation: Explanation; layer: HTMLCanvasElement; ground: Ground };
interface Line {
  key?: string;
  path?: Path2D;
  labels?: Labels;
  only?: (label: number) => boolean;
  under: string;
  over: string;
  width: number;
}
type Scene = {
  split: number;
  inColour: boolean;
  lines: (side: Side) => Line[];
  cursor: Place | null;
  loupe: Place | null;
};
type Window2D = { zoom: number; left: number; top: number };
type PaneView = { view: Window2D; cursor: Place | null };
type Pane = {
  box: Rectangle;
  clip: Rectangle;
  view: Window2D;
  unit: number;
  inColour: boolean;
  lines: Line[];
  cursor: Place | null;
};
type Held = { kind: "split" | "pan" | "point"; x: number; y: number };
type Slider = "temperature" | "importance" | "depth" | "opacity" | "split";
type Card = { explanation: Explanation; index: number; figures: Record<string, number | string | null>; item: HTMLLIElement; button: HTMLButtonElement; label: HTMLElement };
type Figure = { title: string; of: (explanation: Explanation) => number | string | null; words?: (value: number) => string };

// The elements of page.html that have an id.

interface Elements {
  problem: HTMLParagraphElement;
  gallery: HTMLElement;
  spread: HTMLInputElement;
  search: HTMLInputElement;
  sort: HTMLSelectElement;
  found: HTMLSpanElement;
  cards: HTMLUListElement;
  title: HTMLHeadingElement;
  sentence: HTMLParagraphElement;
  subtitle: HTMLParagraphElement;
  main: HTMLElement;
  frame: HTMLDivElement;
  canvas: HTMLCanvasElement;
  "tag-other": HTMLSpanElement;
  "tag-method": HTMLSpanElement;
  "split-row": HTMLLabelElement;
  split: HTMLInputElement;
  "split-value": HTMLOutputElement;
  "scale-other": HTMLElement;
  "scale-method": HTMLElement;
  caution: HTMLParagraphElement;
  spoken: HTMLParagraphElement;
  method: HTMLSelectElement;
  compared: HTMLDivElement;
  other: HTMLSelectElement;
  "beside-row": HTMLLabelElement;
  beside: HTMLSelectElement;
  scaling: HTMLSelectElement;
  temperature: HTMLInputElement;
  "temperature-value": HTMLOutputElement;
  between: HTMLDivElement;
  importance: HTMLInputElement;
  "importance-value": HTMLOutputElement;
  tied: HTMLInputElement;
  "depth-row": HTMLLabelElement;
  depth: HTMLInputElement;
  "depth-value": HTMLOutputElement;
  "sharing-note": HTMLParagraphElement;
  "zoom-out": HTMLButtonElement;
  "zoom-in": HTMLButtonElement;
  "zoom-reset": HTMLButtonElement;
  loupe: HTMLInputElement;
  "whole-row": HTMLLabelElement;
  whole: HTMLInputElement;
  reset: HTMLButtonElement;
  "reading-panel": HTMLDetailsElement;
  "look-panel": HTMLDetailsElement;
  shown: HTMLSelectElement;
  "shown-note": HTMLParagraphElement;
  colours: HTMLSelectElement;
  opacity: HTMLInputElement;
  "opacity-value": HTMLOutputElement;
  "by-magnitude": HTMLInputElement;
  "in-colour": HTMLInputElement;
  "lines-half": HTMLInputElement;
  "lines-cells": HTMLInputElement;
  "lines-segments": HTMLInputElement;
  "lines-split": HTMLInputElement;
  partition: HTMLSelectElement;
  "depth-note": HTMLParagraphElement;
  "partition-note": HTMLParagraphElement;
  "pixel-panel": HTMLDetailsElement;
  keys: HTMLParagraphElement;
  pixel: HTMLDListElement;
  "shares-title": HTMLHeadingElement;
  shares: HTMLUListElement;
  "take-panel": HTMLDetailsElement;
  width: HTMLInputElement;
  "save-png": HTMLButtonElement;
  "save-svg": HTMLButtonElement;
  "save-csv": HTMLButtonElement;
  "copy-link": HTMLButtonElement;
  call: HTMLPreElement;
  copy: HTMLButtonElement;
  copied: HTMLSpanElement;
  "figures-panel": HTMLDetailsElement;
  figures: HTMLTableSectionElement;
  "facts-panel": HTMLDetailsElement;
  facts: HTMLDListElement;
  "verdicts-panel": HTMLDetailsElement;
  "verdicts-title": HTMLElement;
  promise: HTMLParagraphElement;
  "verdicts-table": HTMLDivElement;
  "verdicts-head": HTMLTableRowElement;
  verdicts: HTMLTableSectionElement;
  "verdicts-note": HTMLParagraphElement;
  witnesses: HTMLUListElement;
  vector: SVGSVGElement;
  data: HTMLScriptElement;
}
interface Window {
  usu: {
    ready: Promise<void>;
    map: (side?: "method" | "other") => Float64Array | null;
    figures: (side?: "method" | "other") => Figures | null;
    state: () => object;
  };
}
