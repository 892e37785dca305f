// What the panel's tests stand on: the real program on a folder of its own, receivers that can be told to fail, a mail server,
// and Debian's Chromium. Everything that was started ends with `close`.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const require = createRequire(path.join(root, "tests/receivers/package.json"));
const { chromium } = require("playwright-core");

export const PASSWORD = "correct horse battery";
export const OPERATOR = "ops@platform.example";
/** The text of axe-core, to be run within a page. */
export const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];

/** Waits until `look` finds something, for two minutes unless told otherwise. */
export async function until(what, look, millis = 120_000) {
  const end = Date.now() + millis;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** What matches in a program's output, as soon as it is there. The output stays open: one who ends early breaks the program's pipe. */
function firstLine(child, wanted) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (part) => {
      text += part;
      const found = text.match(wanted);
      if (found) resolve(found);
    });
    child.once("close", () => reject(new Error(`it ended before it said ${wanted}: ${text}`)));
  });
}

function run(program, args, env) {
  return spawn(program, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
}

/** A receiver: `status` is what it answers, `got` what it was sent. */
async function receiver() {
  const self = { status: 204, type: "application/json", got: [] };
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      self.got.push({ method: request.method, headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(self.status, { "content-type": self.type });
      response.end(self.status < 300 ? "" : "the receiver is broken");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  self.url = `http://127.0.0.1:${server.address().port}/hook`;
  self.close = () => { server.closeAllConnections(); server.close(); };
  return self;
}

export class Stage {
  #closing = [];

  static async open(settings = {}) {
    const stage = new Stage();
    try {
      await stage.#start(settings);
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  async #start(settings) {
    const program = process.env.RINGBACK ?? path.join(root, "target/debug/ringback");
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "ringback-panel-"));
    this.#closing.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const mails = path.join(folder, "mails");
    const port = await freePort();
    const mailServer = run(path.join(root, "target/tests/venv/bin/python"), [path.join(root, "tests/receivers/mail_server.py")], {
      OUT: mails,
      PORT: String(port),
    });
    this.#closing.push(() => mailServer.kill("SIGKILL"));
    await firstLine(mailServer, /ready/);
    this.mails = () => (fs.existsSync(mails) ? fs.readFileSync(mails, "utf8").trim().split("\n").filter(Boolean).map((line) => JSON.parse(line)) : []);
    const env = {
      RINGBACK_DATABASE: `sqlite:${path.join(folder, "panel.db")}`,
      RINGBACK_ALLOW_NETWORKS: "127.0.0.0/8",
      RINGBACK_REQUIRE_HTTPS: "false",
      RINGBACK_RETRY_SCHEDULE: "300ms,500ms,1s",
      RINGBACK_SMTP_URL: `smtp://127.0.0.1:${port}`,
      RINGBACK_MAIL_FROM: "ringback@example.net",
      RINGBACK_PASSWORD: PASSWORD,
      ...settings,
    };
    const ask = async (...args) => {
      const child = run(program, args, env);
      const parts = [];
      child.stdout.on("data", (part) => parts.push(part));
      const [code] = await once(child, "close");
      if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}`);
      return JSON.parse(Buffer.concat(parts).toString());
    };
    this.operator = (await ask("token", "create", "--operator", "--json")).token;
    await ask("user", "create", "--operator", "--email", OPERATOR, "--json");
    const server = run(program, ["serve", "--listen", "127.0.0.1:0"], env);
    this.#closing.push(() => server.kill("SIGKILL"));
    [, this.base] = await firstLine(server, /listening on (http:\S+)/);
    this.browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    this.#closing.push(() => this.browser.close());
  }

  async close() {
    for (const end of this.#closing.reverse()) await end();
  }

  async receiver() {
    const one = await receiver();
    this.#closing.push(one.close);
    return one;
  }

  /** One call of the API; the answer's body. */
  async call(method, address, body, token = this.operator) {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const answer = await fetch(this.base + address, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${address}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /** A vendor with its tokens, and a login of this role. */
  async vendor(name, email, role = "owner") {
    const vendor = await this.call("POST", "/v1/vendors", { name, email });
    await this.call("POST", `/v1/vendors/${vendor.id}/users`, { email, password: PASSWORD, role });
    return vendor;
  }

  report(vendor, reports) {
    const whole = (report) => ({ vendor_id: vendor.id, amount: "100.00", currency: "NPR", operator: "Ncell", connection_no: "9801234567", ...report });
    return this.call("POST", "/v1/reports", { reports: reports.map(whole) });
  }

  /** A page of a browser of its own. What goes wrong in it is in `page.wrong`. */
  async page(options = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    page.wrong = [];
    page.on("console", (message) => message.type() === "error" && page.wrong.push(message.text()));
    page.on("pageerror", (error) => page.wrong.push(error.message));
    page.see = (address) => page.goto(this.base + address);
    return page;
  }

  async logIn(email, options) {
    const page = await this.page(options);
    await page.see("/panel/login");
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.waitForURL(/\/panel\/(live|operator|self)/);
    return page;
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
