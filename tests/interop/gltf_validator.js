// The glTF-Validator's report on each of the files named, as a line of JSON.
const { readFileSync } = require("fs");
const { validateBytes } = require(process.argv[2]);

(async () => {
  for (const file of process.argv.slice(3)) {
    const { issues, info } = await validateBytes(new Uint8Array(readFileSync(file)), { maxIssues: 20 });
    console.log(JSON.stringify({ file, issues, info }));
  }
})();
