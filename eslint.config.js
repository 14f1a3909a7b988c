// The report's scripts share one scope: `usu.report.page` joins them into one, `joined.js`. There are found what only
// shows in the whole: names that nobody declares or uses, and constants used before they are set.

import js from "@eslint/js";
import globals from "globals";

const rules = {
  "array-callback-return": "error",
  "consistent-return": "error",
  curly: ["error", "multi-line"],
  "dot-notation": "error",
  eqeqeq: "error",
  "no-else-return": "error",
  "no-eval": "error",
  "no-implicit-coercion": "error",
  "no-implied-eval": "error",
  "no-loop-func": "error",
  "no-new-func": "error",
  "no-param-reassign": "error",
  "no-return-assign": ["error", "except-parens"],
  "no-self-compare": "error",
  "no-template-curly-in-string": "error",
  "no-throw-literal": "error",
  "no-unmodified-loop-condition": "error",
  "no-useless-return": "error",
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "prefer-template": "error",
  radix: "error",
  "require-atomic-updates": "error",
};
const alone = { "no-undef": "off", "no-unused-vars": ["error", { vars: "local" }], "no-shadow": "error" };
const together = { "no-use-before-define": ["error", { functions: false, classes: false, variables: false }] };
const languageOptions = { ecmaVersion: 2023, sourceType: "script", globals: globals.browser };

export default [
  js.configs.recommended,
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  { files: ["src/usu/report/web/*.js"], languageOptions, rules: { ...rules, ...alone } },
  { files: ["joined.js"], languageOptions, rules: { ...rules, ...together } },
];
