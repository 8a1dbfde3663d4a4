const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "shop-"));
let visits = 0;
http.createServer((request, response) => {
  visits += 1;
  fs.writeFileSync(path.join(temporary, `cart-${visits % 40}.json`), JSON.stringify({ visits }));
  response.end(`visit ${visits}\n`);
}).listen(3000);
process.on("SIGTERM", () => process.exit(0));
process.on("SIGHUP", () => console.log("settings read again"));
