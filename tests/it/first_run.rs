//! What a server says at its start, and the link that makes the first operator's login.

use std::io::BufRead;
use std::net::SocketAddr;

use crate::client::{Reply, Request, send};
use crate::panel::form;
use crate::process_errors::{Place, Server, program};

const EMAIL: &str = "first@operator.example";
const PASSWORD: &str = "plum tractor seven";

/// The first lines of what a server says: up to its set-up link, or up to its database where there is no link.
fn banner(server: &mut Server, with_link: bool) -> String {
    let last = if with_link { "/panel/setup/" } else { "  database " };
    let mut said = String::new();
    while !said.contains(last) {
        assert_ne!(server.says.read_line(&mut said).expect("it says something"), 0, "no {last} in {said}");
    }
    said
}

fn link(said: &str) -> String {
    format!("/panel/setup/{}", said.split("/panel/setup/").nth(1).expect("a link").trim())
}

async fn submit(server: SocketAddr, path: &str, email: &str, password: &str) -> Reply {
    let body = form(&[("email", email), ("password", password)]).into_bytes();
    let headers = &[("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
    send(server, Request { method: "POST", path, headers, body: Some(body), ..Request::default() }).await
}

async fn get(server: SocketAddr, path: &str, cookie: Option<&str>) -> Reply {
    let headers: Vec<(&str, &str)> = cookie.map(|cookie| ("cookie", cookie)).into_iter().collect();
    send(server, Request { method: "GET", path, headers: &headers, ..Request::default() }).await
}

#[tokio::test]
async fn the_link_makes_the_first_login_once() {
    let place = Place::with_database();
    let mut server = Server::start(&place);
    let address = server.address;
    let said = banner(&mut server, true);
    for line in
        [format!("panel     http://{address}/panel"), format!("docs      http://{address}/docs"), place.file().display().to_string()]
    {
        assert!(said.contains(&line), "{line}: {said}");
    }
    let path = link(&said);
    assert!(get(address, &path, None).await.expect_page(200).contains("Set up Ringback"));
    for (email, password, named) in [("nobody", PASSWORD, "email"), (EMAIL, "short", "password"), ("", "", "email")] {
        let page = submit(address, &path, email, password).await;
        assert!(page.expect_page(422).contains(&format!("in-{named}")), "{email}: {}", page.text);
    }
    let others = format!("{path}x");
    assert_eq!(get(address, &others, None).await.status, 410);
    assert_eq!(submit(address, &others, EMAIL, PASSWORD).await.status, 410);

    // Two at once make one login.
    let (one, two) = tokio::join!(submit(address, &path, EMAIL, PASSWORD), submit(address, &path, "second@operator.example", PASSWORD));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 410], "{} {}", one.text, two.text);
    let made = if one.status == 303 { one } else { two };
    assert_eq!(made.header("location"), Some("/panel/operator"));
    let cookie = made.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned();
    get(address, "/panel/operator", Some(&cookie)).await.expect_page(200);
    assert_eq!(get(address, &path, None).await.status, 410);

    drop(server);
    let mut again = Server::start(&place);
    let said = banner(&mut again, false);
    again.terminate();
    assert_eq!(again.ended().await, Some(0));
    let mut rest = said;
    while again.says.read_line(&mut rest).expect("it says something") > 0 {}
    assert!(!rest.contains("setup"), "{rest}");
}

#[tokio::test]
async fn a_login_made_on_the_command_line_ends_the_link() {
    let place = Place::with_database();
    let mut server = Server::start(&place);
    let path = link(&banner(&mut server, true));
    let mut command = program(
        &[("password", PASSWORD), ("master_key", crate::process_errors::KEY)],
        &["user", "create", "--operator", "--email", EMAIL, "--database", &place.database()],
    );
    assert!(command.output().expect("it runs").status.success());
    assert_eq!(get(server.address, &path, None).await.status, 410);
    assert_eq!(submit(server.address, &path, "second@operator.example", PASSWORD).await.status, 410);
    let login = form(&[("email", "second@operator.example"), ("password", PASSWORD)]).into_bytes();
    let headers = &[("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
    let request = Request { method: "POST", path: "/panel/login", headers, body: Some(login), ..Request::default() };
    assert_eq!(send(server.address, request).await.status, 401);
}

#[tokio::test]
async fn the_link_leads_below_public_url() {
    let place = Place::with_database();
    let mut server = Server::with(&place, &[("public_url", "https://pay.example/ringback/")]);
    let said = banner(&mut server, true);
    assert!(said.contains("panel     https://pay.example/ringback/panel\n"), "{said}");
    assert!(said.contains("  https://pay.example/ringback/panel/setup/"), "{said}");
}
