//! The documents as the server has them.

use crate::harness::TestApp;

#[tokio::test]
async fn documents_are_pages_and_markdown_and_answer_questions_without_a_token() {
    let app = TestApp::start().await;
    let get = async |path: &str| app.call("GET", path, "", None).await;
    let page = get("/docs/receiving").await;
    assert!(
        page.expect_text(200).contains("<a class=\"anchor\" href=\"#receivers\"") && page.text.contains("href=\"/docs/api\""),
        "{}",
        page.text
    );
    for part in [">Get started<", ">Operate<", ">Reference<", ">Understand<", "aria-label=\"On this page\"", "rel=\"next\"", "class=\"hl-"]
    {
        assert!(page.text.contains(part), "{part}");
    }
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("script-src 'self'")));
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).expect("the page");
    let markdown = get("/docs/api.md").await;
    assert_eq!((markdown.expect_text(200), markdown.header("content-type")), (written.as_str(), Some("text/markdown; charset=utf-8")));
    let answer = get("/docs/api.md?ask=How%20do%20I%20cancel%20a%20pending%20delivery%3F").await;
    assert!(answer.expect_text(200).contains("Source: [api](/docs/api.md#") && answer.text.contains("/cancel"), "{}", answer.text);
    assert!(get("/docs/api.md?ask=zzz").await.expect_text(200).contains("/docs/llms.txt"));
    assert!(get("/docs?ask=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E").await.expect_text(200).find("<script>alert").is_none());
    for path in ["/llms.txt", "/docs/llms.txt"] {
        assert!(get(path).await.expect_text(200).contains("(/docs/receiving.md)"), "{path}");
    }
    for (path, kind) in [("/docs/benchmarks.svg", "image/svg+xml"), ("/docs/alerts.yml", "text/plain; charset=utf-8")] {
        let file = get(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, Some(kind)), "{path}");
    }
    let index = get("/docs/").await;
    assert_eq!(index.expect_text(200), get("/docs").await.expect_text(200));
    assert!(index.text.contains("href=\"/docs/questions\"") && index.text.contains("href=\"/docs/architecture\""));
    let found = get("/docs?ask=do%20i%20need%20redis").await;
    assert!(found.expect_text(200).contains("class=\"sheet document answer\""), "{}", found.text);
    for path in ["/docs?ask=what%20is%20the%20capital%20of%20France", "/docs/api?ask=what%20is%20the%20capital%20of%20France"] {
        assert!(get(path).await.expect_text(200).contains("Nothing in the documents fits this question."), "{path}");
    }
    for path in ["/docs/nothing", "/docs/nothing.md", "/docs/../Cargo.toml", "/docs/screenshots/"] {
        assert_eq!(get(path).await.status, 404, "{path}");
    }
    app.finish().await;
}

#[tokio::test]
async fn questions_have_a_pace_for_each_address() {
    let app = TestApp::start().await;
    // The first question builds the index, which takes long in a build for tests.
    app.call("GET", "/docs/api.md?ask=cancel", "", None).await.expect_text(200);
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(app.call("GET", "/docs/api.md?ask=cancel", "", None).await.status);
    }
    assert!(statuses[..9].iter().all(|status| *status == 200) && statuses.contains(&429), "{statuses:?}");
    let refused = statuses.iter().position(|status| *status == 429).expect("one");
    assert!((9..25).contains(&refused), "{statuses:?}");
    app.call("GET", "/docs/api.md", "", None).await.expect_text(200);
    app.finish().await;
}
