//! The documents, as pages and as the Markdown they are written in, at `/docs`; each can be asked. They need no login.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::door::Visit;
use super::form::Query;
use super::frame;
use crate::http::Api;
use crate::limits;
use crate::ops::client_network;
use crate::store::{Passage, Passages};

/// A page: its name, what it is about, its text.
struct Page {
    name: &'static str,
    about: &'static str,
    text: &'static str,
}

macro_rules! pages {
    ($($name:literal: $about:literal,)*) => {
        &[$(Page { name: $name, about: $about, text: include_str!(concat!("../../docs/", $name, ".md")) },)*]
    };
}

const PAGES: &[Page] = pages! {
    "tour": "Ten minutes: a server, a first webhook, failures, retries, replays, conflicts and the panel",
    "receiving": "For those who write receivers: what arrives, how to check it, complete receivers in four languages, tools",
    "api": "Every call, with its rules",
    "recharges": "Recharges that Ringback executes: how vendors ask, how a provider is described, test mode",
    "panel": "The pages for vendors and for the operator",
    "operating": "Running a server: backups, upgrades, alerts, what to look at",
    "circuit": "Endpoints that fail: the circuit breaker, what a probe tests, who is notified",
    "config": "Every setting",
    "scaling": "PostgreSQL and many nodes",
    "security": "What is protected, and how",
    "reliability": "What is promised, and how each promise is attacked",
    "benchmarks": "How fast it is, and why",
};

macro_rules! files {
    ($($name:literal from $path:literal as $kind:literal,)*) => {
        &[$(($name, $kind, include_bytes!(concat!("../../", $path)).as_slice()),)*]
    };
}

/// Pictures that pages show, and files that they lead to.
static FILES: &[(&str, &str, &[u8])] = files! {
    "benchmarks.svg" from "docs/benchmarks.svg" as "image/svg+xml",
    "soak.svg" from "docs/soak.svg" as "image/svg+xml",
    "screenshots/home.png" from "docs/screenshots/home.png" as "image/png",
    "screenshots/delivery.png" from "docs/screenshots/delivery.png" as "image/png",
    "screenshots/overview.png" from "docs/screenshots/overview.png" as "image/png",
    "screenshots/not-connected.png" from "docs/screenshots/not-connected.png" as "image/png",
    "screenshots/conflict.png" from "docs/screenshots/conflict.png" as "image/png",
    "alerts.yml" from "docs/alerts.yml" as "text/plain; charset=utf-8",
    "grafana.json" from "docs/grafana.json" as "application/json",
    "ringback.service" from "docs/ringback.service" as "text/plain; charset=utf-8",
    "examples/receivers/README.md" from "examples/receivers/README.md" as "text/plain; charset=utf-8",
    "examples/receivers/php/ringback.php" from "examples/receivers/php/ringback.php" as "text/plain; charset=utf-8",
    "examples/receivers/php/public/hook.php" from "examples/receivers/php/public/hook.php" as "text/plain; charset=utf-8",
    "examples/receivers/php/work.php" from "examples/receivers/php/work.php" as "text/plain; charset=utf-8",
    "examples/receivers/php/catch_up.php" from "examples/receivers/php/catch_up.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/routes/api.php" from "examples/receivers/laravel/routes/api.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/config/services.php" from "examples/receivers/laravel/config/services.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/app/Http/Middleware/VerifyRingback.php" from "examples/receivers/laravel/app/Http/Middleware/VerifyRingback.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/app/Http/Controllers/RingbackController.php" from "examples/receivers/laravel/app/Http/Controllers/RingbackController.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/app/Services/Ringback.php" from "examples/receivers/laravel/app/Services/Ringback.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/app/Jobs/TellCustomer.php" from "examples/receivers/laravel/app/Jobs/TellCustomer.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/app/Console/Commands/CatchUp.php" from "examples/receivers/laravel/app/Console/Commands/CatchUp.php" as "text/plain; charset=utf-8",
    "examples/receivers/laravel/database/migrations/2026_11_01_000000_create_ringback_tables.php" from "examples/receivers/laravel/database/migrations/2026_11_01_000000_create_ringback_tables.php" as "text/plain; charset=utf-8",
    "examples/receivers/express/package.json" from "examples/receivers/express/package.json" as "text/plain; charset=utf-8",
    "examples/receivers/express/receiver.js" from "examples/receivers/express/receiver.js" as "text/plain; charset=utf-8",
    "examples/receivers/express/store.js" from "examples/receivers/express/store.js" as "text/plain; charset=utf-8",
    "examples/receivers/express/catch_up.js" from "examples/receivers/express/catch_up.js" as "text/plain; charset=utf-8",
    "examples/receivers/fastapi/requirements.txt" from "examples/receivers/fastapi/requirements.txt" as "text/plain; charset=utf-8",
    "examples/receivers/fastapi/receiver.py" from "examples/receivers/fastapi/receiver.py" as "text/plain; charset=utf-8",
    "examples/receivers/fastapi/store.py" from "examples/receivers/fastapi/store.py" as "text/plain; charset=utf-8",
    "examples/receivers/fastapi/catch_up.py" from "examples/receivers/fastapi/catch_up.py" as "text/plain; charset=utf-8",
    "examples/receivers/axum/Cargo.toml" from "examples/receivers/axum/Cargo.toml" as "text/plain; charset=utf-8",
    "examples/receivers/axum/src/main.rs" from "examples/receivers/axum/src/main.rs" as "text/plain; charset=utf-8",
    "examples/receivers/axum/src/store.rs" from "examples/receivers/axum/src/store.rs" as "text/plain; charset=utf-8",
    "examples/receivers/axum/src/feed.rs" from "examples/receivers/axum/src/feed.rs" as "text/plain; charset=utf-8",
    "scripts/backup" from "scripts/backup" as "text/plain; charset=utf-8",
    "scripts/restore" from "scripts/restore" as "text/plain; charset=utf-8",
    "Dockerfile" from "Dockerfile" as "text/plain; charset=utf-8",
    "compose.yml" from "compose.yml" as "text/plain; charset=utf-8",
    "examples/receiver.rs" from "examples/receiver.rs" as "text/plain; charset=utf-8",
    "examples/providers/nepal.toml" from "examples/providers/nepal.toml" as "text/plain; charset=utf-8",
    "SECURITY.md" from "SECURITY.md" as "text/plain; charset=utf-8",
};

static PASSAGES: LazyLock<Passages> = LazyLock::new(|| {
    let passages: Vec<Passage> = PAGES.iter().flat_map(|page| passages(page.name, page.text)).collect();
    Passages::index(&passages).expect("there is memory for the documents")
});

/// The pages as HTML, rendered once: they need no login, and rendering takes milliseconds.
static RENDERED: LazyLock<HashMap<&str, Markup>> = LazyLock::new(|| PAGES.iter().map(|page| (page.name, rendered(page.text))).collect());

pub(super) fn routes() -> Router<Api> {
    let router = Router::new().route("/docs", get(index)).route("/docs/{*path}", get(page));
    router.layer(Extension(Arc::new(Questions::new()))).route("/llms.txt", get(|| async { markdown(contents()) }))
}

/// Admission of questions. They need no login, and a search takes milliseconds of a processor: one is answered at a time, off the
/// threads that serve requests, few wait, and each address has a rate limit.
struct Questions {
    place: Semaphore,
    waiting: Semaphore,
    paces: DefaultKeyedRateLimiter<IpAddr>,
}

/// Why a question is not answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    /// This address has asked too much.
    TooMany,
    /// Others are asking.
    Busy,
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let (status, told) = match self {
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "Too many questions from this address. Ask again in a second.\n"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Too many questions at once. Ask again in a second.\n"),
        };
        (status, [(RETRY_AFTER, "1"), (CONTENT_TYPE, "text/plain; charset=utf-8")], told).into_response()
    }
}

impl Questions {
    fn new() -> Self {
        let count = |count| NonZeroU32::new(count).expect("there may be some");
        let pace = Quota::per_second(count(limits::QUESTIONS_PER_SECOND)).allow_burst(count(limits::QUESTIONS_AT_ONCE));
        Self { place: Semaphore::new(1), waiting: Semaphore::new(1 + limits::QUESTIONS_WAITING), paces: RateLimiter::keyed(pace) }
    }

    /// Passages that answer a question; those of `page` first among equals.
    async fn find(&self, from: IpAddr, question: &str, page: &str) -> Result<Vec<Passage>, Unanswered> {
        if self.paces.len() > limits::TOKEN_CACHE_MAX {
            self.paces.retain_recent();
        }
        self.paces.check_key(&client_network(from)).map_err(|_| Unanswered::TooMany)?;
        let _waiting = self.waiting.try_acquire().map_err(|_| Unanswered::Busy)?;
        let _place = self.place.acquire().await.expect("it is never closed");
        let (question, page) = (question.to_owned(), page.to_owned());
        Ok(spawn_blocking(move || find(&question, &page)).await.unwrap_or_default())
    }
}

fn markdown(text: String) -> Response {
    ([(CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response()
}

/// What there is, for programs that read (llms.txt).
fn contents() -> String {
    let mut text = "# Ringback\n\n> Makes sure a vendor learns what became of every recharge: signed webhooks, retried for 24 hours, \
        inspectable, replayable, and a feed without gaps. Each page answers questions: add `?ask=` and the question to its address.\n\n## Docs\n\n"
        .to_owned();
    for Page { name, about, .. } in PAGES {
        text.push_str(&format!("- [{name}](/docs/{name}.md): {about}\n"));
    }
    text.push_str("- [openapi.json](/openapi.json): the API as OpenAPI 3.1\n");
    text
}

async fn index(visit: Visit, Extension(questions): Extension<Arc<Questions>>, query: Query) -> Result<Markup, Unanswered> {
    let asked = query.get("ask");
    let found = if asked.is_empty() { Vec::new() } else { questions.find(visit.who.address, asked, "").await? };
    let body = html! {
        h1 { "Documents" }
        form.filters method="get" action="/docs" role="search" {
            label { "Search" input type="search" name="ask" value=(asked); }
            button.main type="submit" { "Search" }
        }
        @if !asked.is_empty() {
            @if found.is_empty() { p { "Nothing says anything of that." } }
            @for Passage { page, heading, text } in &found {
                section.sheet.document { h2 { a href=(format!("/docs/{page}#{}", anchor(last(heading)))) { (heading) } } (rendered(text)) }
            }
        } @else {
            ul.documents { @for Page { name, about, .. } in PAGES { li { a href=(format!("/docs/{name}")) { (name) } " " span.soft { (about) } } } }
        }
    };
    Ok(frame::of_documents("Documents", ("", &names()), body))
}

async fn page(visit: Visit, Extension(questions): Extension<Arc<Questions>>, Path(path): Path<String>, query: Query) -> Response {
    if path == "llms.txt" {
        return markdown(contents());
    }
    if let Some((_, kind, bytes)) = FILES.iter().find(|(name, ..)| *name == path) {
        return ([(CONTENT_TYPE, *kind)], *bytes).into_response();
    }
    let name = path.strip_suffix(".md").unwrap_or(&path);
    let Some(found) = PAGES.iter().find(|page| page.name == name) else {
        let body = html! { h1 { "There is no such page" } p { a href="/docs" { "All documents" } } };
        return (StatusCode::NOT_FOUND, frame::of_documents("No such page", ("", &names()), body)).into_response();
    };
    let asked = query.get("ask");
    match (path.ends_with(".md"), asked.is_empty()) {
        (true, true) => markdown(found.text.to_owned()),
        (true, false) => match questions.find(visit.who.address, asked, name).await {
            Ok(found) => markdown(answer(&found)),
            Err(unanswered) => unanswered.into_response(),
        },
        (false, _) => {
            frame::of_documents(found.name, (name, &names()), html! { article.document { (RENDERED[found.name]) } }).into_response()
        }
    }
}

fn names() -> Vec<&'static str> {
    PAGES.iter().map(|page| page.name).collect()
}

fn find(question: &str, page: &str) -> Vec<Passage> {
    let question: String = question.chars().take(limits::QUESTION_MAX).collect();
    PASSAGES.find(&question, page, limits::PASSAGES_SHOWN).unwrap_or_default()
}

/// What fits a question best, with where it stands.
fn answer(found: &[Passage]) -> String {
    if found.is_empty() {
        return "Nothing in the documents fits this question. What there is: [llms.txt](/docs/llms.txt)\n".to_owned();
    }
    let part = |Passage { page, heading, text }: &Passage| {
        format!("## {heading}\n\nSource: [{page}](/docs/{page}.md#{})\n\n{text}\n", anchor(last(heading)))
    };
    found.iter().map(part).collect::<Vec<_>>().join("\n")
}

fn last(heading: &str) -> &str {
    heading.rsplit(" › ").next().unwrap_or_default()
}

/// A page in parts, one for each heading.
fn passages(page: &str, text: &str) -> Vec<Passage> {
    let (mut found, mut headings, mut part, mut in_code) = (Vec::new(), Vec::<String>::new(), String::new(), false);
    let mut end = |headings: &[String], part: &mut String| {
        let text = std::mem::take(part).trim().to_owned();
        if !text.is_empty() {
            found.push(Passage { page: page.to_owned(), heading: headings.join(" › "), text });
        }
    };
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if !in_code && (1..=3).contains(&level) && line[level..].starts_with(' ') {
            end(&headings, &mut part);
            headings.truncate(level - 1);
            headings.push(line[level..].trim().to_owned());
        } else {
            part.push_str(line);
            part.push('\n');
        }
    }
    end(&headings, &mut part);
    found
}

/// A heading as the part of an address that leads to it.
fn anchor(heading: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter.to_ascii_lowercase()),
        _ => None,
    };
    heading.chars().filter_map(letter).collect()
}

/// Markdown as HTML, with headings that can be led to, and links from page to page.
fn rendered(text: &str) -> Markup {
    let mut events: Vec<Event> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    let mut at = 0;
    while at < events.len() {
        if matches!(events[at], Event::Start(Tag::Heading { .. })) {
            let name: String =
                events[at + 1..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))).filter_map(words).collect();
            if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
                *id = Some(CowStr::from(anchor(&name)));
            }
        }
        if let Event::Start(Tag::Link { dest_url, .. }) = &mut events[at] {
            *dest_url = CowStr::from(linked(dest_url));
        }
        if let Event::Start(Tag::Image { dest_url, .. }) = &mut events[at]
            && !dest_url.contains("://")
        {
            *dest_url = CowStr::from(format!("/docs/{dest_url}"));
        }
        at += 1;
    }
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events.into_iter());
    // Wide ones are moved within themselves, by the keyboard too.
    let out = out
        .replace("<table>", "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table>")
        .replace("</table>", "</table></div>");
    PreEscaped(out.replace("<pre>", "<pre tabindex=\"0\">"))
}

fn words<'a>(event: &'a Event) -> Option<&'a str> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        _ => None,
    }
}

/// Where a link of a document leads here: to a page, a file, or where it says.
fn linked(url: &str) -> String {
    let (path, anchor) = url.split_once('#').map_or((url, String::new()), |(path, anchor)| (path, format!("#{anchor}")));
    let name = path.trim_start_matches("../");
    match path.strip_suffix(".md") {
        Some(name) if PAGES.iter().any(|page| page.name == name) => format!("/docs/{name}{anchor}"),
        _ if FILES.iter().any(|(known, ..)| *known == name) => format!("/docs/{name}"),
        _ if path == "openapi.json" => "/openapi.json".to_owned(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_a_page() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: std::collections::BTreeSet<String> = files.filter(|file| file.ends_with(".md")).collect();
        assert_eq!(files, PAGES.iter().map(|page| format!("{}.md", page.name)).collect());
    }

    #[test]
    fn everything_that_a_page_leads_to_is_there() {
        for page in PAGES {
            let html = rendered(page.text).into_string();
            for part in ["href=\"", "src=\""].into_iter().flat_map(|attribute| html.split(attribute).skip(1)) {
                let target = part.split('"').next().unwrap();
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let is_elsewhere = ["https://", "http://", "/openapi.json"].iter().any(|begin| path.starts_with(begin));
                let name = path.strip_prefix("/docs/").unwrap_or(path);
                if is_elsewhere || FILES.iter().any(|(known, ..)| *known == name) {
                    continue;
                }
                let name = if path.is_empty() { page.name } else { name };
                let there = PAGES.iter().find(|page| page.name == name).unwrap_or_else(|| panic!("{} leads to {target}", page.name));
                let heading = format!("id=\"{anchor}\"");
                assert!(anchor.is_empty() || rendered(there.text).into_string().contains(&heading), "{} leads to {target}", page.name);
            }
        }
    }

    #[test]
    fn questions_find_the_passage_that_answers_them() {
        for (question, page, part) in [
            ("How do I verify the signature in PHP?", "receiving", "PHP"),
            ("what happens to my events while the endpoint is disabled", "api", "missed"),
            ("how long is a delivery retried", "receiving", "24"),
            ("rotate the secret with an overlap", "receiving", "secret"),
            ("how do I take a backup of the database?", "operating", "ackup"),
        ] {
            let found = find(question, "");
            assert!(
                found.iter().any(|passage| passage.page == page && (passage.heading.contains(part) || passage.text.contains(part))),
                "{question}: {:?}",
                found.iter().map(|one| (&one.page, &one.heading)).collect::<Vec<_>>()
            );
        }
        for odd in ["", "?", "\" OR 1 NEAR(", "ü", "a b c"] {
            drop(find(odd, "api"));
        }
        assert!(answer(&find("zzzunheardof", "api")).starts_with("Nothing in the documents"));
    }
}
