//! The proxies of docs/scaling.md, configured as documented: a caller cannot claim an address other than the one from which it
//! called the proxy. Below a path, what a page leads to comes back through the same path.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::api::text;
use super::programs::{self, Beside};
use super::server::Server;
use super::wait;

const WITHIN: Duration = Duration::from_secs(20);
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
const CLAIMED: &str = "203.0.113.7";

/// Header lines by which a caller may try to have another address, or that of the proxy. `@` stands for the address.
const CLAIMS: [&[u8]; 16] = [
    b"",
    b"X-Forwarded-For: @\r\n",
    b"x-forwarded-for: @:443\r\n",
    b"X-Forwarded-For: @, @\r\n",
    b"X-Forwarded-For: @,\r\n",
    b"X-Forwarded-For: @\r\nX-Forwarded-For: @\r\n",
    b"X-Forwarded-For: \"\r\n",
    b"X-Forwarded-For: \xff, @\r\n",
    b"X-Forwarded-For:\r\n",
    b"X_Forwarded_For: @\r\n",
    b"Forwarded: for=@\r\n",
    b"Forwarded: for=\"@:80\"\r\nForwarded: for=@;proto=https\r\n",
    b"Forwarded: for=\"\r\n",
    b"X-Forwarded-For: @\r\nForwarded: for=@\r\n",
    b"X-Real-IP: @\r\nX-Client-IP: @\r\nCF-Connecting-IP: @\r\nTrue-Client-IP: @\r\n",
    b"Connection: X-Forwarded-For, Forwarded\r\nX-Forwarded-For: @\r\nForwarded: for=@\r\n",
];

fn page() -> String {
    std::fs::read_to_string(programs::root().join("docs/scaling.md")).expect("the page")
}

fn block(language: &str) -> String {
    let page = page();
    let begun = page.split_once(&format!("\n```{language}\n")).map(|(_, rest)| rest);
    let code = begun.and_then(|rest| rest.split_once("\n```\n")).map(|(code, _)| code);
    format!("{}\n", code.unwrap_or_else(|| panic!("docs/scaling.md has no configuration of {language}")))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The program, where Debian puts it.
fn program(name: &str) -> Command {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| panic!("{name} is missing: run scripts/setup-tests first")))
}

/// Writes a configuration whose addresses are those of the test, and gives its path.
fn written(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("it is written");
    path
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration has no {from}");
    text.replace(from, to)
}

/// Changes of a configuration, from the first to the second text. Each second text is documented.
type Changes = [(&'static str, &'static str)];

fn changed(mut text: String, changes: &Changes) -> String {
    let page = page();
    for (from, to) in changes {
        let documented = to.lines().find(|line| line.contains("ringback")).unwrap_or("}");
        assert!(page.contains(&format!("`{}`", documented.trim())), "docs/scaling.md does not have {documented}");
        text = replaced(&text, from, to);
    }
    text
}

fn haproxy(folder: &Path, port: u16, server: SocketAddr, changes: &Changes) -> Command {
    let mut text = replaced(&changed(block("haproxy"), changes), "bind :80\n", &format!("bind 127.0.0.1:{port}\n"));
    for node in ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"] {
        text = replaced(&text, node, &server.to_string());
    }
    let mut command = program("haproxy");
    command.arg("-db").arg("-f").arg(written(folder, "haproxy.cfg", &text));
    command
}

fn nginx(folder: &Path, port: u16, server: SocketAddr, changes: &Changes) -> Command {
    let text = replaced(&changed(block("nginx"), changes), "listen 80;", &format!("listen 127.0.0.1:{port};"));
    let text = replaced(&text, "127.0.0.1:8080", &server.to_string());
    written(folder, "ringback.conf", &text);
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n")).concat();
    let around = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{kinds}include ringback.conf;\n}}\n"
    );
    let mut command = program("nginx");
    command.arg("-e").arg("stderr").arg("-p").arg(folder).arg("-c").arg(written(folder, "nginx.conf", &around));
    command
}

fn caddy(folder: &Path, port: u16, server: SocketAddr, changes: &Changes) -> Command {
    let text = replaced(&changed(block("caddy"), changes), "ringback.example.com", &format!("http://127.0.0.1:{port}"));
    let text = format!("{{\n    admin off\n}}\n\n{}", replaced(&text, "127.0.0.1:8080", &server.to_string()));
    let mut command = program("caddy");
    command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(written(folder, "Caddyfile", &text)).env("HOME", folder);
    command
}

/// Starts a proxy in this folder, on this port, in front of this server.
type Configured = fn(&Path, u16, SocketAddr, &Changes) -> Command;

/// The proxies below a path: which pass the path on, and which remove it.
const BELOW_A_PATH: [(&str, Configured, &Changes); 6] = [
    ("haproxy, passed on", haproxy, &[HAPROXY_PATH]),
    ("haproxy, removed", haproxy, &[HAPROXY_PATH, ("balance", "http-request replace-path ^/ringback/?(.*) /\\1\n    balance")]),
    ("nginx, passed on", nginx, &[NGINX_PATH]),
    ("nginx, removed", nginx, &[NGINX_PATH, ("proxy_pass http://ringback;", "proxy_pass http://ringback/;")]),
    ("caddy, passed on", caddy, &[("    reverse_proxy", "    handle /ringback/* {\n    reverse_proxy"), CADDY_END]),
    ("caddy, removed", caddy, &[("    reverse_proxy", "    handle_path /ringback/* {\n    reverse_proxy"), CADDY_END]),
];
const HAPROXY_PATH: (&str, &str) = ("default_backend nodes", "use_backend nodes if { path /ringback } or { path_beg /ringback/ }");
const NGINX_PATH: (&str, &str) = ("location / {", "location /ringback/ {");
const CADDY_END: (&str, &str) = ("\n    }\n}", "\n    }\n    }\n}");

/// The status of a request from [`CALLER`]; none if the connection ends without one.
async fn status(proxy: u16, token: &str, claim: &[u8]) -> Option<u16> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((CALLER, 0).into()).expect("it is this machine's");
    let mut stream = socket.connect(([127, 0, 0, 1], proxy).into()).await.ok()?;
    let head = format!("GET /v1/recharges HTTP/1.1\r\nHost: 127.0.0.1:{proxy}\r\nAuthorization: Bearer {token}\r\n");
    stream.write_all(&[head.as_bytes(), claim, b"\r\n"].concat()).await.ok()?;
    let mut line = [0; 12];
    tokio::time::timeout(WITHIN, stream.read_exact(&mut line)).await.expect("it is answered").ok()?;
    std::str::from_utf8(&line[9..]).ok()?.parse().ok()
}

fn claiming(claim: &[u8], address: &str) -> Vec<u8> {
    claim.iter().flat_map(|byte| if *byte == b'@' { address.as_bytes().to_vec() } else { vec![*byte] }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_passes_off_another_address_through_a_documented_proxy() {
    let server = Server::start(&[("TRUSTED_PROXIES", "127.0.0.1"), ("HEADER_TIMEOUT", "500ms")]);
    let mut client = server.operator();
    let vendor = client.post("/v1/vendors", &json!({"name": "proxied", "email": "proxied@example.com"})).await;
    let path = format!("/v1/vendors/{}/tokens", text(&vendor, "id"));
    let mut bound = Vec::new();
    for address in [CLAIMED, "127.0.0.1", &CALLER.to_string()] {
        let made = client.post(&path, &json!({"mode": "live", "allowed_ips": [address]})).await;
        bound.push((address.to_owned(), text(&made, "token").to_owned()));
    }
    let caller = &bound.last().expect("three tokens").1;
    for (name, command) in [("haproxy", haproxy as Configured), ("nginx", nginx), ("caddy", caddy)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let _proxy = Beside::start(command(folder.path(), port, server.address(), &[]));
        wait::until(&format!("{name} reaches the server"), WITHIN, async || status(port, caller, b"").await == Some(200)).await;
        for claim in CLAIMS {
            for (address, token) in &bound[..2] {
                let claim = claiming(claim, address);
                let seen = status(port, token, &claim).await;
                let shown = String::from_utf8_lossy(&claim).into_owned();
                assert!(matches!(seen, Some(400 | 401)), "{name}: a token bound to {address} was answered {seen:?} with {shown:?}");
                let own = status(port, caller, &claim).await;
                // Only what is no HTTP may be refused by the proxy.
                assert!(
                    own == Some(200) || (own == Some(400) && !claim.is_ascii()),
                    "{name}: the caller was answered {own:?} with {shown:?}"
                );
            }
        }
        // The connections that the proxy keeps are idle, and not slow.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(status(port, caller, b"").await, Some(200), "{name}: on a connection that was kept");
    }
}

/// The answer to a request, through a proxy.
async fn exchanged(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::time::timeout(WITHIN, stream.read_to_string(&mut answer)).await.expect("it is answered").ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panel_below_a_path_leads_back_through_the_proxy() {
    let server = Server::start(&[("TRUSTED_PROXIES", "127.0.0.1"), ("PUBLIC_URL", "http://pay.example/ringback")]);
    let mut client = server.operator();
    let vendor = client.post("/v1/vendors", &json!({"name": "below", "email": "below@example.com"})).await;
    let login = json!({"email": "ann@below.example", "password": "correct horse battery", "role": "owner"});
    client.post(&format!("/v1/vendors/{}/users", text(&vendor, "id")), &login).await;
    for (name, command, changes) in BELOW_A_PATH {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let _proxy = Beside::start(command(folder.path(), port, server.address(), changes));
        let head = format!("Host: 127.0.0.1:{port}\r\nConnection: close\r\n");
        let get =
            async |path: &str, more: &str| exchanged(port, &format!("GET {path} HTTP/1.1\r\n{head}{more}\r\n")).await.unwrap_or_default();
        let is_up = async || get("/ringback/readyz", "").await.starts_with("HTTP/1.1 200");
        wait::until(&format!("{name} reaches the server"), WITHIN, is_up).await;
        let has = |answer: &str, parts: &[&str]| {
            let lower = answer.to_lowercase();
            parts.iter().for_each(|part| assert!(lower.contains(&part.to_lowercase()), "{name}: {part} is missing in {answer}"));
        };
        has(&get("/ringback/", "").await, &["HTTP/1.1 303", "location: /ringback/panel\r\n"]);
        let page = get("/ringback/panel/login", "").await;
        has(&page, &["HTTP/1.1 200", "action=\"/ringback/panel/login\""]);
        let style = page.split('"').find(|part| part.ends_with("panel.css")).expect("a style");
        has(&get(style, "").await, &["HTTP/1.1 200", "content-type: text/css"]);
        let form = "email=ann%40below.example&password=correct+horse+battery&next=%2Fpanel%2Flive%2Ftokens";
        let origin = "Origin: http://pay.example\r\nContent-Type: application/x-www-form-urlencoded";
        let post = format!("POST /ringback/panel/login HTTP/1.1\r\n{head}{origin}\r\nContent-Length: {}\r\n\r\n{form}", form.len());
        let entered = exchanged(port, &post).await.expect("an answer");
        has(&entered, &["HTTP/1.1 303", "location: /ringback/panel/live/tokens\r\n", "; Path=/ringback/panel;"]);
        let (_, cookie) = entered.split_once("ringback_session=").expect("a cookie");
        let cookie = format!("Cookie: ringback_session={}\r\n", cookie.split(';').next().expect("a value"));
        has(&get("/ringback/panel/live/tokens", &cookie).await, &["HTTP/1.1 200", "action=\"/ringback/panel/logout\""]);
    }
}
