//! The proxies of docs/scaling.md, configured as documented: a caller cannot claim an address other than the one from which it
//! called the proxy.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

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

fn block(language: &str) -> String {
    let page = std::fs::read_to_string(programs::root().join("docs/scaling.md")).expect("the page");
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

fn haproxy(folder: &Path, port: u16, server: SocketAddr) -> Command {
    let mut text = replaced(&block("haproxy"), "bind :80\n", &format!("bind 127.0.0.1:{port}\n"));
    for node in ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"] {
        text = replaced(&text, node, &server.to_string());
    }
    let mut command = program("haproxy");
    command.arg("-db").arg("-f").arg(written(folder, "haproxy.cfg", &text));
    command
}

fn nginx(folder: &Path, port: u16, server: SocketAddr) -> Command {
    let text = replaced(&block("nginx"), "listen 80;", &format!("listen 127.0.0.1:{port};"));
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

fn caddy(folder: &Path, port: u16, server: SocketAddr) -> Command {
    let text = replaced(&block("caddy"), "ringback.example.com", &format!("http://127.0.0.1:{port}"));
    let text = format!("{{\n    admin off\n}}\n\n{}", replaced(&text, "127.0.0.1:8080", &server.to_string()));
    let mut command = program("caddy");
    command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(written(folder, "Caddyfile", &text)).env("HOME", folder);
    command
}

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
    for (name, command) in [("haproxy", haproxy as fn(&Path, u16, SocketAddr) -> Command), ("nginx", nginx), ("caddy", caddy)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let _proxy = Beside::start(command(folder.path(), port, server.address()));
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
