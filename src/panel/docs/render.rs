//! Markdown as HTML: headings that can be linked to, links from page to page, highlighted code, and tables that scroll.

use maud::{Markup, PreEscaped};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd};

use super::highlight::highlighted;
use super::pages::Page;
use super::passages::Anchors;

/// A page, or a part of one.
pub(super) fn rendered(page: &Page, text: &str) -> Markup {
    let mut parser = Parser::new_ext(text, Options::ENABLE_TABLES);
    let (mut events, mut anchors, mut links) = (Vec::new(), Anchors::default(), Vec::new());
    while let Some(event) = parser.next() {
        match event {
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let parts: Vec<Event> = parser.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))).collect();
                let anchor = anchors.next(&parts.iter().filter_map(words).collect::<String>());
                let link = format!(" <a class=\"anchor\" href=\"#{anchor}\" aria-label=\"Link to this section\">#</a>");
                events.push(Event::Start(Tag::Heading { level, id: Some(CowStr::from(anchor)), classes, attrs }));
                events.extend(parts);
                events.push(Event::InlineHtml(CowStr::from(link)));
                events.push(Event::End(TagEnd::Heading(level)));
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let parts: Vec<Event> = parser.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::CodeBlock))).collect();
                let name = match &kind {
                    CodeBlockKind::Fenced(name) => name.split([' ', ',']).next().unwrap_or_default(),
                    CodeBlockKind::Indented => "",
                };
                let code = highlighted(name, &parts.iter().filter_map(words).collect::<String>());
                events.push(Event::Html(CowStr::from(format!("<pre tabindex=\"0\"><code>{code}</code></pre>\n"))));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let target = page.linked(&dest_url);
                links.push(target.is_some());
                events.extend(target.map(|target| Event::Start(Tag::Link { link_type, dest_url: CowStr::from(target), title, id })));
            }
            // What is not served is named without a link.
            Event::End(TagEnd::Link) => events.extend(links.pop().filter(|is_link| *is_link).map(|_| Event::End(TagEnd::Link))),
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let dest_url = page.linked(&dest_url).map_or(dest_url, CowStr::from);
                events.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
            }
            event => events.push(event),
        }
    }
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events.into_iter());
    // Wide ones are moved within themselves, by the keyboard too.
    let out = out.replace("<table>", "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table>");
    PreEscaped(out.replace("</table>", "</table></div>").replace("<img ", "<img loading=\"lazy\" "))
}

fn words<'a>(event: &'a Event) -> Option<&'a str> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::{PAGES, contents, file, page};
    use super::*;

    #[test]
    fn everything_that_a_page_leads_to_is_there() {
        let html: std::collections::HashMap<_, _> = PAGES.iter().map(|page| (page.name, rendered(page, page.text).into_string())).collect();
        for from in &*PAGES {
            for part in ["href=\"", "src=\""].into_iter().flat_map(|attribute| html[from.name].split(attribute).skip(1)) {
                let target = part.split('"').next().unwrap();
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let is_elsewhere = ["https://", "http://", "/openapi.json", "mailto:"].iter().any(|begin| path.starts_with(begin));
                let name = path.strip_prefix("/docs/").unwrap_or(path);
                if is_elsewhere || path == "/docs" || file(name).is_some() {
                    continue;
                }
                let name = if path.is_empty() { from.name } else { name };
                let there = page(name).unwrap_or_else(|| panic!("{} leads to {target}", from.source));
                let heading = format!("id=\"{anchor}\"");
                assert!(anchor.is_empty() || html[there.name].contains(&heading), "{} leads to {target}", from.source);
            }
        }
    }

    #[test]
    fn what_is_not_served_is_in_the_repository() {
        for page in &*PAGES {
            for part in page.text.split("](").skip(1) {
                let target = part.split([')', ' ']).next().unwrap();
                if page.linked(target).is_none() {
                    let path = page.path_of(target.split('#').next().unwrap());
                    let there = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
                    assert!(there.exists(), "{} leads to {target}", page.source);
                }
            }
        }
    }

    #[test]
    fn contents_lead_to_headings() {
        for page in &*PAGES {
            let html = rendered(page, page.text).into_string();
            for (level, anchor, _) in contents(page.text) {
                assert!(html.contains(&format!("<h{level} id=\"{anchor}\">")), "{}#{anchor}", page.name);
            }
        }
    }

    #[test]
    fn code_is_highlighted_and_links_are_kept_to_what_is_served() {
        let page = page("api").unwrap();
        let html =
            rendered(page, "## A `b`\n\n```sh\ncurl x # y\n```\n\n[there](receiving.md#connecting) [code](../src/main.rs)\n").into_string();
        assert!(html.contains("<h2 id=\"a-b\">A <code>b</code> <a class=\"anchor\" href=\"#a-b\""), "{html}");
        assert!(html.contains("<span class=\"hl-c\"># y</span>") && html.contains("href=\"/docs/receiving#connecting\""), "{html}");
        assert!(html.contains(" code</p>"), "{html}");
    }
}
