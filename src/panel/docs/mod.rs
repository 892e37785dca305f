//! The documents, as pages and as the Markdown they are written in, at `/docs`; each can be asked. They need no login.
//!
//! [`pages`] lists what `build.rs` found, [`render`] makes HTML of it, [`passages`] cuts it into what [`search`] ranks.

mod highlight;
mod pages;
mod passages;
mod program;
#[cfg(test)]
mod questions;
mod render;
mod search;
mod words;

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
use maud::{Markup, html};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::pages::{GROUPS, PAGES, Page};
use self::render::rendered;
use self::search::{Index, Passage};
use super::auth::Visit;
use super::form::Query;
use super::layout;
use crate::http::Api;
use crate::limits;
use crate::ops::client_network;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    Index::new(PAGES.iter().flat_map(|page| passages::sections(page.name, page.text)).collect(), include_str!("asked.txt"))
});

/// The pages as HTML, rendered once: they need no login, and rendering takes milliseconds.
static RENDERED: LazyLock<HashMap<&str, Markup>> =
    LazyLock::new(|| PAGES.iter().map(|page| (page.name, rendered(page, page.text))).collect());

pub(super) fn routes() -> Router<Api> {
    let router = Router::new().route("/docs", get(index)).route("/docs/", get(index)).route("/docs/{*path}", get(page));
    let router = router.route("/docs/cli/ringback", get(program::download));
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

fn in_group(group: &str) -> impl Iterator<Item = &'static Page> {
    PAGES.iter().filter(move |page| page.group == group)
}

/// What there is, for programs that read (llms.txt).
fn contents() -> String {
    let mut text = "# Ringback\n\n> Makes sure a vendor learns what became of every recharge: signed webhooks, retried for 24 hours, \
        inspectable, replayable, and a feed without gaps. Each page answers questions: add `?ask=` and the question to its address.\n"
        .to_owned();
    for group in GROUPS {
        text.push_str(&format!("\n## {group}\n\n"));
        for Page { name, title, about, .. } in in_group(group) {
            text.push_str(&format!("- [{title}](/docs/{name}.md): {about}\n"));
        }
    }
    text.push_str("- [openapi.json](/openapi.json): the API as OpenAPI 3.1\n");
    text
}

async fn index(visit: Visit, Extension(questions): Extension<Arc<Questions>>, query: Query) -> Result<Markup, Unanswered> {
    let asked = query.get("ask");
    if asked.is_empty() {
        let body = html! {
            h1 { "Documentation" }
            (search_form(""))
            @for group in GROUPS {
                section.group {
                    h2 { (group) }
                    ul.cards-of-pages {
                        @for page in in_group(group) { li { a href=(address(page)) { strong { (page.title) } span { (page.about) } } } }
                    }
                }
            }
        };
        return Ok(around("Documentation", "", body));
    }
    let found = questions.find(visit.who.address, asked, "").await?;
    let body = html! {
        h1 { "Search" }
        (search_form(asked))
        @if found.is_empty() {
            p.notice role="status" { "Nothing in the documents fits this question. Use other words, or open a page from the menu." }
        }
        @for passage in &found { (answered(passage)) }
    };
    Ok(around("Search", "", body))
}

fn search_form(asked: &str) -> Markup {
    html! {
        form.ask method="get" action="/docs" role="search" aria-label="Ask a question" {
            input type="search" name="ask" value=(asked) aria-label="Question or search words" placeholder="Ask a question or search";
            button.main type="submit" { "Search" }
        }
    }
}

fn answered(Passage { page, heading, anchor, text }: &Passage) -> Markup {
    let Some(page) = pages::page(page) else { return html! {} };
    let (above, last) = heading.rsplit_once(" › ").unwrap_or(("", heading));
    html! {
        section.sheet.document.answer {
            p.above { (page.group) " › " (page.title) @for part in above.split(" › ").skip(1) { " › " (part) } }
            h2 { a href=(format!("{}#{anchor}", address(page))) { (last) } }
            (rendered(page, text))
        }
    }
}

fn address(page: &Page) -> String {
    format!("/docs/{}", page.name)
}

/// The frame of a page, with all pages in their groups.
fn around(title: &str, here: &str, body: Markup) -> Markup {
    let entry = |page: &'static Page| (address(page), page.title.as_str(), page.name == here);
    let groups = GROUPS.map(|group| (group, in_group(group).map(entry).collect::<Vec<_>>()));
    layout::of_documents(title, &groups, body)
}

async fn page(visit: Visit, Extension(questions): Extension<Arc<Questions>>, Path(path): Path<String>, query: Query) -> Response {
    if path == "llms.txt" {
        return markdown(contents());
    }
    if let Some((kind, bytes)) = pages::file(&path) {
        return ([(CONTENT_TYPE, kind)], bytes).into_response();
    }
    let name = path.strip_suffix(".md").or(path.strip_suffix('/')).unwrap_or(&path);
    let Some(found) = pages::page(name) else {
        let body = html! { h1 { "Page not found" } p { a href="/docs" { "All documents" } } };
        return (StatusCode::NOT_FOUND, around("Page not found", "", body)).into_response();
    };
    let asked = query.get("ask");
    match (path.ends_with(".md"), asked.is_empty()) {
        (true, true) => markdown(found.text.to_owned()),
        (false, true) => around(&found.title, found.name, read(found)).into_response(),
        (is_markdown, false) => match questions.find(visit.who.address, asked, name).await {
            Ok(passages) if is_markdown => markdown(answer(&passages)),
            Ok(passages) => {
                let body = html! { h1 { "Search" } (search_form(asked)) @for passage in &passages { (answered(passage)) }
                @if passages.is_empty() { p.notice role="status" { "Nothing in the documents fits this question." } } };
                around("Search", found.name, body).into_response()
            }
            Err(unanswered) => unanswered.into_response(),
        },
    }
}

/// A page with its contents and the pages before and after it.
fn read(page: &'static Page) -> Markup {
    let headings = pages::contents(page.text);
    let list = html! {
        ul { @for (level, anchor, heading) in &headings { li.deep[*level > 2] { a href=(format!("#{anchor}")) { (heading) } } } }
    };
    let at = PAGES.iter().position(|one| one == page).unwrap_or_default();
    let (before, after) = (at.checked_sub(1).map(|at| &PAGES[at]), PAGES.get(at + 1));
    html! {
        div.reading {
            @if headings.len() > 2 { details.contents.folded { summary { "On this page" } (list) } }
            article.document {
                (RENDERED[page.name])
                nav.turn aria-label="Next pages" {
                    @if let Some(page) = before { a href=(address(page)) rel="prev" { span { "Previous" } strong { (page.title) } } } @else { span {} }
                    @if let Some(page) = after { a.next href=(address(page)) rel="next" { span { "Next" } strong { (page.title) } } }
                }
                p.source { a href=(format!("/docs/{}.md", page.name)) { "Markdown" } }
            }
            @if headings.len() > 2 { nav.contents aria-label="On this page" { p { "On this page" } (list) } }
        }
    }
}

fn find(question: &str, page: &str) -> Vec<Passage> {
    let question: String = question.chars().take(limits::QUESTION_MAX).collect();
    INDEX.find(&question, page, limits::PASSAGES_SHOWN)
}

/// What fits a question best, with its source.
fn answer(found: &[Passage]) -> String {
    if found.is_empty() {
        return "Nothing in the documents fits this question. What there is: [llms.txt](/docs/llms.txt)\n".to_owned();
    }
    let part = |Passage { page, heading, anchor, text }: &Passage| {
        format!("## {heading}\n\nSource: [{page}](/docs/{page}.md#{anchor})\n\n{text}\n")
    };
    found.iter().map(part).collect::<Vec<_>>().join("\n")
}
