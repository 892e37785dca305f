//! Style as a test: layers, sizes, words, migrations, and documents that name what the code has.
//!
//! A check is a function from a path and a text to findings, each of which says where, what, and what to do instead.
//! The first tests hold the checks against this repository; those in [`checks_can_fail`] hold them against small bad
//! inputs, so that a check that has gone blind does not go unnoticed.

use std::fs;
use std::path::Path;
use std::process::Command;

// --- The rules -------------------------------------------------------------------------------------------------------

/// What a part of `src/` may name of the crate beside itself, and what to do where it wants more.
struct Layer {
    name: &'static str,
    may: &'static [&'static str],
    instead: &'static str,
}

/// The direction: http and cli → ops → store, wire, providers → transport → domain → limits; engine → store, wire, providers, traces.
const LAYERS: [Layer; 21] = [
    Layer { name: "limits", may: &[], instead: "limits are plain numbers; compute what depends on more where it is used" },
    Layer { name: "fields", may: &[], instead: "fields know of no rules; pass what is read from them on to ops" },
    Layer { name: "failpoint", may: &[], instead: "a place to die knows nothing of where it stands" },
    Layer { name: "domain", may: &["limits"], instead: "the rules are pure; take what they need as an argument" },
    Layer { name: "clock", may: &["domain"], instead: "time and chance know only the domain's types" },
    Layer { name: "logging", may: &["limits"], instead: "a log line is bytes" },
    Layer { name: "panics", may: &[], instead: "a panic may happen anywhere; this module knows no other" },
    Layer { name: "meters", may: &["domain", "logging", "panics"], instead: "meters are told what to count by those who do it" },
    Layer { name: "tls", may: &[], instead: "TLS knows nothing of what is sent through it" },
    Layer { name: "wire", may: &["domain", "limits"], instead: "a request is a pure function of what the caller passes in" },
    Layer {
        name: "transport",
        may: &["domain", "limits", "clock", "tls"],
        instead: "take what is to be sent in types of its own, of domain or of http",
    },
    Layer {
        name: "store",
        may: &["domain", "limits", "clock", "tls", "failpoint"],
        instead: "a store keeps and finds; decide in domain, act in ops or engine",
    },
    Layer {
        name: "providers",
        may: &["domain", "limits", "clock", "transport"],
        instead: "a provider says a Word; what follows from it is the engine's and the ledger's",
    },
    Layer {
        name: "ops",
        may: &["store", "wire", "transport", "providers", "domain", "limits", "fields", "clock", "meters"],
        instead: "hand the engine a hint through group_commit::Handoff, and name a store by its trait",
    },
    Layer {
        name: "traces",
        may: &["store", "transport", "domain", "limits", "meters"],
        instead: "traces are told what happened by those who do it, in types of domain and store",
    },
    Layer {
        name: "engine",
        may: &["store", "traces", "wire", "transport", "providers", "domain", "limits", "clock", "meters", "failpoint"],
        instead: "the engine works for nobody by name: it is told through Handoff, and names a store by its trait",
    },
    Layer {
        name: "http",
        may: &[
            "ops",
            "clock::Stopwatch",
            "store",
            "wire::standard",
            "providers::callback",
            "domain",
            "limits",
            "fields",
            "meters",
            "panics",
        ],
        instead: "call a verb of ops; of the store only the types of its answers may be named",
    },
    Layer {
        name: "panel",
        may: &["http", "ops", "store", "wire::standard", "domain", "limits", "fields"],
        instead: "call a verb of ops; of the store only the types of its answers may be named",
    },
    Layer {
        name: "config",
        may: &[
            "domain",
            "fields",
            "limits",
            "engine::Bounds",
            "engine::Retention",
            "engine::Watch",
            "ops::Rules",
            "ops::networks",
            "providers",
            "store::seal",
            "transport::Limits",
            "transport::mail::Mailer",
            "transport::Proxy",
        ],
        instead: "a configuration names only the settings of the parts; app puts the parts together",
    },
    Layer { name: "cli", may: EVERYTHING, instead: "" },
    Layer { name: "app", may: EVERYTHING, instead: "" },
];

const EVERYTHING: &[&str] = &[
    "app",
    "cli",
    "clock",
    "config",
    "domain",
    "engine",
    "fields",
    "http",
    "limits",
    "logging",
    "meters",
    "ops",
    "panel",
    "panics",
    "providers",
    "store",
    "traces",
    "transport",
    "wire",
];

/// Parts of a layer that only the named ones may name, although the layer itself is open to others.
const RESERVED: [(&str, &[&str], &str); 4] = [
    ("store::sqlite", &["app", "cli", "store"], "take an Arc<dyn Store>; app.rs chooses the store"),
    ("store::seal", &["app", "cli", "store", "config"], "secrets come out of the store opened"),
    ("store::group_commit", &["app", "cli", "store", "ops", "engine"], "call a verb of ops"),
    ("store::Store", &["app", "cli", "store", "ops", "engine"], "call a verb of ops"),
];

/// Names that make a module more than pure, with what stands in their place.
const IMPURE: [(&str, &str); 10] = [
    ("async", "domain functions return at once; wait in ops or engine"),
    ("await", "domain functions return at once; wait in ops or engine"),
    ("tokio", "domain functions return at once; wait in ops or engine"),
    ("rusqlite", "the store turns rows into domain types"),
    ("SystemTime", "take a domain::time::Timestamp as an argument"),
    ("Instant", "take a Duration as an argument"),
    ("rand", "take the random bytes or the jitter as an argument"),
    ("fs", "read files in config or app"),
    ("hyper", "transport speaks HTTP"),
    ("axum", "http speaks HTTP"),
];

const SQL: [&str; 8] = ["SELECT ", "INSERT INTO ", "INSERT OR ", "UPDATE ", "DELETE FROM ", "PRAGMA ", "CREATE ", "DROP "];

/// Most lines of a file in `src/`.
const LINES_MAX: usize = 600;
/// A file longer than this stands in [`LONG`].
const LONG_FROM: usize = 500;
/// The long files, all of them and no others: each is a candidate for a split, and none gets there unseen.
const LONG: [&str; 2] = ["src/engine/scheduler.rs", "src/limits.rs"];

/// Parts of type names that say nothing, and a name that is the product's.
const EMPTY_WORDS: [(&str, &str); 5] = [
    ("manager", "say what it does: Board, Pace, Readers"),
    ("helper", "say what it does, or make it a function"),
    ("util", "put it where its one user is, or name what it is about"),
    ("service", "say what it does: Ops, Transport, Engine"),
    ("webhook", "the thing is an Event, an Endpoint, a Delivery or an Attempt"),
];
/// Other people's words for what has one here.
const OTHER_WORDS: [(&str, &str); 3] = [("tenant", "vendor"), ("account", "vendor"), ("merchant", "vendor")];
/// Modules that attract everything.
const VAGUE_MODULES: [&str; 7] = ["common", "helper", "helpers", "misc", "shared", "util", "utils"];

const UNDONE: [(&str, &str); 3] = [
    ("todo", "finish it, or leave it out and say so in the documents"),
    ("unimplemented", "finish it, or leave it out and say so in the documents"),
    ("dbg", "use tracing, with fields"),
];

// --- This repository -------------------------------------------------------------------------------------------------

#[test]
fn layers_name_only_what_is_below_them() {
    hold(program(), layers);
}

#[test]
fn every_part_of_the_crate_stands_in_the_table() {
    let parts = sources("src").into_iter().filter_map(|(path, _)| module_of(&path).into_iter().next());
    let unknown: Vec<String> = parts.filter(|part| LAYERS.iter().all(|layer| layer.name != part)).collect();
    assert!(unknown.is_empty(), "add to LAYERS what these may name: {unknown:?}");
}

#[test]
fn sql_stands_in_the_store() {
    hold(sources("src"), sql);
}

#[test]
fn the_domain_is_pure() {
    hold(program(), purity);
}

#[test]
fn files_are_short() {
    report(sizes(&sources("src"), &LONG));
}

#[test]
fn names_are_the_projects_own() {
    hold(sources("src"), words);
}

#[test]
fn nothing_is_left_undone() {
    hold([sources("src"), sources("tests"), sources("benches")].concat(), undone);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let (sqlite, postgres) = (names_in("migrations/sqlite"), names_in("migrations/postgres"));
    assert!(!sqlite.is_empty(), "there are no migrations");
    let mut findings = migrations("migrations/sqlite", &sqlite);
    if postgres != sqlite {
        findings.push("migrations: sqlite and postgres differ; each migration has a twin of the same number and name".to_owned());
    }
    report(findings);
}

#[test]
fn contributing_says_what_each_dependency_does() {
    let manifests = [read("Cargo.toml"), read("fuzz/Cargo.toml")];
    report(dependencies(&manifests, &read("CONTRIBUTING.md")));
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let files = [sources("src"), sources("tests")].concat();
    report(threats("docs/security.md", &read("docs/security.md"), &files, |path| Path::new(ROOT).join(path).exists()));
}

#[test]
fn dependencies_are_what_deny_toml_allows() {
    let rules: toml::Value = toml::from_str(&read("deny.toml")).expect("it is TOML");
    let advisories = &rules["advisories"];
    assert_eq!((advisories["yanked"].as_str(), advisories["unmaintained"].as_str()), (Some("deny"), Some("all")));
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--locked", "--offline"]).output().expect("cargo runs");
    assert!(output.status.success(), "{}; `cargo fetch` gets what other systems need, too", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    report(packages(&metadata, &rules));
}

/// An endpoint that a person watches is worth nothing if the rules do not load.
#[test]
fn prometheus_takes_the_alert_rules() {
    let promtool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tests/promtool");
    let output = Command::new(promtool).args(["check", "rules", "docs/alerts.yml"]).output().expect("run scripts/setup-tests first");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("SUCCESS: "), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// What the projects of examples/receivers need is what the tests run them with.
#[test]
fn the_examples_name_the_versions_that_are_tested() {
    let (tests, example) = (read("tests/receivers/package.json"), read("examples/receivers/express/package.json"));
    let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON")["dependencies"].clone();
    let (tested, tests) = (read("tests/receivers/requirements.txt"), of(&tests));
    for (name, version) in of(&example).as_object().expect("it has dependencies") {
        assert_eq!(tests[name], *version, "{name}: examples/receivers/express and tests/receivers name different versions");
    }
    for line in read("examples/receivers/fastapi/requirements.txt").lines() {
        assert!(tested.contains(&format!("{line} ")), "{line}: tests/receivers/requirements.txt has another version");
    }
    let (ours, axum): (toml::Value, toml::Value) = (
        toml::from_str(&read("Cargo.toml")).expect("it is TOML"),
        toml::from_str(&read("examples/receivers/axum/Cargo.toml")).expect("it is TOML"),
    );
    let version = |of: &toml::Value| of.get("version").unwrap_or(of).clone();
    for (name, needed) in axum["dependencies"].as_table().expect("it has dependencies") {
        let known = ours["dependencies"].get(name).or_else(|| ours["dev-dependencies"].get(name)).map(version);
        assert_eq!(known, Some(version(needed)), "{name}: examples/receivers/axum and Cargo.toml name different versions");
    }
}

fn setting_names() -> Vec<&'static str> {
    ringback::config::SETTINGS.iter().map(|setting| setting.name).collect()
}

#[test]
fn the_configuration_page_has_every_setting() {
    report(table_has("docs/config.md", &read("docs/config.md"), &setting_names(), "setting"));
}

#[test]
fn every_setting_is_given_in_a_test() {
    let tests: String = ["tests/it", "tests/crash"].into_iter().flat_map(sources).map(|(_, text)| text).collect();
    report(not_given(&setting_names(), &tests));
}

#[test]
fn the_operating_page_has_every_metric() {
    let names: Vec<&str> = ringback::meters::METRICS.iter().map(|(name, _, _)| *name).collect();
    report(table_has("docs/operating.md", &read("docs/operating.md"), &names, "metric"));
    for page in ["docs/alerts.yml", "docs/grafana.json"] {
        report(alerts(page, &read(page), &names));
    }
}

#[test]
fn no_machine_shows() {
    let mut files = Vec::new();
    walk(Path::new(ROOT), &mut files);
    let texts = files.into_iter().filter(|path| !path.ends_with("Cargo.lock")).filter_map(|path| {
        let text = String::from_utf8(fs::read(Path::new(ROOT).join(&path)).ok()?).ok()?;
        Some((path, text))
    });
    hold(texts.collect(), machines);
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn hold(files: Vec<(String, String)>, check: fn(&str, &str) -> Vec<String>) {
    assert!(!files.is_empty(), "there is nothing to check");
    report(files.iter().flat_map(|(path, text)| check(path, text)).collect());
}

fn report(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Rust files under a folder, as (path, text).
fn sources(under: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(&Path::new(ROOT).join(under), &mut files);
    files.retain(|path| path.ends_with(".rs"));
    files.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// What the program is made of: `src/` without the files that are compiled for tests only.
fn program() -> Vec<(String, String)> {
    let mut files = sources("src");
    let tests: Vec<String> = files.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    files.retain(|(path, _)| !tests.contains(path));
    files
}

/// Files under a folder, as paths from the root, without what others made.
fn walk(folder: &Path, files: &mut Vec<String>) {
    const OTHERS: [&str; 4] = ["target", ".git", "node_modules", ".venv"];
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if OTHERS.contains(&&*name) {
            // In a linked worktree .git is a file.
            continue;
        } else if path.is_dir() {
            walk(&path, files);
        } else if path.is_file() {
            files.push(path.strip_prefix(ROOT).expect("it is under the root").to_string_lossy().into_owned());
        }
    }
}

fn names_in(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    walk(&Path::new(ROOT).join(folder), &mut files);
    files.iter().filter_map(|path| path.rsplit('/').next().map(str::to_owned)).collect()
}

// --- The checks ------------------------------------------------------------------------------------------------------

fn layers(path: &str, text: &str) -> Vec<String> {
    let here = module_of(path);
    let Some(layer) = here.first().and_then(|name| LAYERS.iter().find(|layer| layer.name == name)) else { return Vec::new() };
    let mut findings = Vec::new();
    for (line, named) in paths(&without_tests(&Lexed::of(text).code)) {
        let Some(named) = absolute(&here, &named) else { continue };
        if !EVERYTHING.contains(&&*named[0]) {
            continue;
        }
        let is = |prefix: &&str| format!("{}::", named.join("::")).starts_with(&format!("{prefix}::"));
        let (name, shown) = (layer.name, named.iter().take(3).cloned().collect::<Vec<_>>().join("::"));
        if let Some((_, _, instead)) = RESERVED.iter().find(|(what, who, _)| is(what) && !who.contains(&name)) {
            findings.push(format!("{path}:{line}: {name} names {shown}; {instead}"));
        } else if named[0] != name && !layer.may.iter().any(is) {
            findings.push(format!("{path}:{line}: {name} names {shown}; {}", layer.instead));
        }
    }
    findings
}

fn sql(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("src/store/") {
        return Vec::new();
    }
    let lexed = Lexed::of(text);
    let named = paths(&lexed.code)
        .into_iter()
        .filter(|(_, path)| path.iter().any(|part| ["rusqlite", "tokio_postgres", "refinery"].contains(&part.as_str())));
    let written = lexed.literals.iter().filter(|(_, literal)| SQL.iter().any(|word| literal.trim_start().starts_with(word)));
    let lines = named.map(|(line, _)| line).chain(written.map(|(line, _)| *line));
    lines.map(|line| format!("{path}:{line}: SQL outside src/store/; add a method to the Store trait, with its exam")).collect()
}

fn purity(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/domain/") {
        return Vec::new();
    }
    let code = without_tests(&Lexed::of(text).code);
    let found = paths(&code).into_iter().flat_map(|(line, named)| {
        let impure = IMPURE.iter().filter(move |(word, _)| named.iter().any(|part| part == word));
        impure.map(move |(word, instead)| format!("{path}:{line}: the domain names {word}; {instead}"))
    });
    found.collect()
}

fn sizes(files: &[(String, String)], long: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in files {
        let (lines, listed) = (text.lines().count(), long.contains(&&**path));
        if lines > LINES_MAX {
            findings.push(format!("{path}: {lines} lines; split it by what it is about, {LINES_MAX} are the most"));
        } else if lines > LONG_FROM && !listed {
            findings.push(format!("{path}: {lines} lines; split it, or add it to LONG in tests/tidy.rs"));
        } else if lines <= LONG_FROM && listed {
            findings.push(format!("{path}: {lines} lines; it is short again, take it out of LONG in tests/tidy.rs"));
        }
    }
    let gone = long.iter().filter(|path| files.iter().all(|(known, _)| known != *path));
    findings.extend(gone.map(|path| format!("{path}: is not there; take it out of LONG in tests/tidy.rs")));
    findings
}

fn words(path: &str, text: &str) -> Vec<String> {
    let tokens = tokens(&Lexed::of(text).code);
    let mut findings = Vec::new();
    let banned = |name: &str, words: &[(&'static str, &'static str)]| {
        let parts = parts(name);
        words.iter().copied().find(|(word, _)| parts.iter().any(|part| part == word || part.strip_suffix('s') == Some(word)))
    };
    for pair in tokens.windows(2) {
        let [(_, before), (line, name)] = pair else { continue };
        if ["struct", "enum", "trait", "type", "union"].contains(&&**before)
            && let Some((word, instead)) = banned(name, &EMPTY_WORDS)
        {
            findings.push(format!("{path}:{line}: {name} has the word {word}; {instead}"));
        }
        if before == "mod" && VAGUE_MODULES.contains(&&**name) {
            findings.push(format!("{path}:{line}: module {name} could hold anything; name it after what it holds"));
        }
    }
    for (line, name) in &tokens {
        if let Some((word, instead)) = banned(name, &OTHER_WORDS) {
            findings.push(format!("{path}:{line}: {name} has the word {word}; the word here is {instead}"));
        }
    }
    findings
}

fn undone(path: &str, text: &str) -> Vec<String> {
    let tokens = tokens(&Lexed::of(text).code);
    let mut findings = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1).map_or("", |(_, next)| next);
        if let Some((word, instead)) = UNDONE.iter().find(|(word, _)| token == word && next == "!") {
            findings.push(format!("{path}:{line}: {word}!; {instead}"));
        }
        if token == "ignore" && at >= 2 && tokens[at - 1].1 == "[" && tokens[at - 2].1 == "#" {
            findings.push(format!("{path}:{line}: an ignored test; make it pass, or take it out"));
        }
    }
    findings
}

fn migrations(folder: &str, names: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let expected = format!("V{:04}__", at + 1);
        let word = name.strip_prefix(&expected).and_then(|rest| rest.strip_suffix(".sql"));
        if !word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')) {
            findings.push(format!(
                "{folder}/{name}: should be {expected}what_it_does.sql; numbers are contiguous and a released file never changes"
            ));
        }
    }
    findings
}

fn dependencies(manifests: &[String], contributing: &str) -> Vec<String> {
    let manifests: Vec<toml::Table> = manifests.iter().map(|manifest| manifest.parse().expect("Cargo.toml is TOML")).collect();
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of = |manifest: &toml::Table| -> Vec<String> {
        tables.iter().filter_map(|table| manifest.get(*table)?.as_table()).flat_map(|table| table.keys().cloned()).collect()
    };
    let mut named: Vec<String> = manifests.iter().flat_map(of).filter(|name| name != "ringback").collect();
    named.sort();
    named.dedup();
    table_has("CONTRIBUTING.md", contributing, &named.iter().map(String::as_str).collect::<Vec<_>>(), "dependency")
}

/// Each row of a threat model, a table with the columns asset, attacker, defence and test, names tests as `module::function`, or
/// files, and all of them exist.
fn threats(page: &str, text: &str, files: &[(String, String)], is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let (mut findings, mut rows, mut in_table) = (Vec::new(), 0, false);
    for (at, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        in_table = line.starts_with('|') && (in_table || cells == ["asset", "attacker", "defence", "test"]);
        if !in_table || cells[0] == "asset" || line.starts_with("|---") {
            continue;
        }
        rows += 1;
        let named: Vec<&str> = cells.last().unwrap_or(&"").split('`').skip(1).step_by(2).collect();
        if cells.len() != 4 || named.is_empty() || cells.iter().any(|cell| cell.is_empty()) {
            findings.push(format!("{page}:{}: a row has an asset, an attacker, a defence and a test", at + 1));
        }
        for name in named {
            let exists = match name.split_once("::") {
                None => is_there(name),
                Some((module, function)) => files.iter().any(|(path, text)| has_test(path, text, module, function)),
            };
            if !exists {
                findings.push(format!("{page}:{}: there is no test {name}; name one that holds the defence", at + 1));
            }
        }
    }
    if rows == 0 {
        findings.push(format!("{page}:1: it has no table of threats"));
    }
    findings
}

/// Whether a file is a module of this name, or one of a test binary of this name, and has a test of that one.
fn has_test(path: &str, text: &str, module: &str, function: &str) -> bool {
    let path = path.trim_end_matches(".rs").trim_end_matches("/main").trim_end_matches("/mod");
    // The targets of the test binary `fuzz` are tests by a macro.
    let by_macro = |line: &str| line.starts_with("tests!(") && line.split(['(', ')', ',']).any(|name| name.trim() == function);
    path.rsplit('/').next() == Some(module) && (text.contains(&format!("fn {function}(")) || text.lines().any(by_macro))
}

/// Tables of a page have a row for each of `names` that says something, and no row for anything else.
/// What `cargo metadata` tells of packages, against the rules of deny.toml.
fn packages(metadata: &serde_json::Value, rules: &toml::Value) -> Vec<String> {
    let allowed: Vec<&str> = rules["licenses"]["allow"].as_array().into_iter().flatten().filter_map(toml::Value::as_str).collect();
    let banned: Vec<&str> = rules["bans"]["deny"].as_array().into_iter().flatten().filter_map(|ban| ban["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().expect("packages").iter().filter(|package| package["name"] != "ringback") {
        let (name, license) = (package["name"].as_str().unwrap_or_default(), package["license"].as_str().unwrap_or_default());
        let allows = |wanted: &spdx::LicenseReq| wanted.license.id().is_some_and(|id| allowed.contains(&id.name));
        if !spdx::Expression::parse_mode(license, spdx::ParseMode::LAX).is_ok_and(|license| license.evaluate(allows)) {
            findings.push(format!("{name}: its licence is {license:?}; find another crate, or allow it in deny.toml"));
        }
        if banned.contains(&name) {
            findings.push(format!("{name}: deny.toml bans it"));
        }
        if !package["source"].as_str().is_some_and(|source| source.starts_with("registry+") && source.contains("/crates.io-index")) {
            findings.push(format!("{name}: it comes from {}, and dependencies come from crates.io", package["source"]));
        }
    }
    findings
}

fn table_has(page: &str, text: &str, names: &[&str], kind: &str) -> Vec<String> {
    let mut rows: Vec<(&str, bool)> = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` |")) else { continue };
        rows.push((name, rest.trim_matches([' ', '|']).len() > 10));
    }
    let mut findings = Vec::new();
    for name in names {
        match rows.iter().filter(|(row, _)| row == name).collect::<Vec<_>>().as_slice() {
            [(_, true)] => {}
            [(_, false)] => findings.push(format!("{page}: the row of the {kind} {name} says nothing; say what it does for us")),
            [] => findings.push(format!("{page}: the {kind} {name} is missing; add a row | `{name}` | … |")),
            _ => findings.push(format!("{page}: the {kind} {name} has more than one row; keep one")),
        }
    }
    let unknown = rows.iter().filter(|(row, _)| !names.contains(row));
    findings.extend(unknown.map(|(row, _)| format!("{page}: there is no {kind} {row}; take its row out")));
    findings
}

/// Settings that no test gives, in lower case to the server inside it or in capitals to one of its own.
fn not_given(names: &[&str], tests: &str) -> Vec<String> {
    let is_given = |name: &str| tests.contains(&format!("\"{name}\"")) || tests.contains(&format!("\"{}\"", name.to_uppercase()));
    names.iter().filter(|name| !is_given(name)).map(|name| format!("no test gives the setting {name}")).collect()
}

/// Alert rules ask for metrics that there are.
fn alerts(page: &str, text: &str, names: &[&str]) -> Vec<String> {
    let expressions = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    let words = expressions.flat_map(|(at, line)| {
        line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("ringback_"))
            .map(move |word| (at, word))
    });
    let is_known = |word: &str| names.contains(&word.strip_suffix("_bucket").unwrap_or(word));
    words
        .filter(|(_, word)| !is_known(word))
        .map(|(at, word)| format!("{page}:{}: there is no metric {word}; see src/meters.rs", at + 1))
        .collect()
}

fn machines(path: &str, text: &str) -> Vec<String> {
    // In pieces, so that this file does not find itself.
    let folders = [["/wo", "rk/"], ["/ro", "ot/"], ["/fa", "rm/"]].map(|parts| parts.concat());
    let hosts = [["registry.npm", "js.org"], ["files.python", "hosted.org"], ["index.crates", ".io"], ["static.crates", ".io"]];
    let index = ["github.com/rust-lang/crates", ".io-index"].concat();
    let hosts: Vec<String> = hosts.into_iter().map(|parts| parts.concat()).chain([index]).collect();
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut find = |words: &[String], instead: &str| {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                findings.push(format!("{path}:{}: {word} shows somebody's machine; {instead}", number + 1));
            }
        };
        find(&folders, "name paths from the repository's root");
        find(&hosts, "leave it to the package manager where packages come from");
    }
    findings
}

// --- Reading Rust ----------------------------------------------------------------------------------------------------

/// A source whose comments and literals are blanks (lines stay), and the string literals with their lines.
struct Lexed {
    code: String,
    literals: Vec<(usize, String)>,
}

impl Lexed {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut lexed = Self { code: String::with_capacity(text.len()), literals: Vec::new() };
        let mut at = 0;
        while at < chars.len() {
            let rest = &chars[at..];
            at += match rest {
                ['/', '/', ..] => lexed.blank(rest, rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
                ['/', '*', ..] => lexed.blank(rest, comment(rest)),
                ['"', ..] => lexed.literal(rest),
                ['\'', '\\', ..] => lexed.blank(rest, 3 + rest.iter().skip(3).position(|c| *c == '\'').map_or(0, |end| end + 1)),
                ['\'', _, '\'', ..] => lexed.blank(rest, 3),
                [c, ..] => {
                    lexed.code.push(*c);
                    1
                }
                [] => break,
            };
        }
        lexed
    }

    fn blank(&mut self, rest: &[char], length: usize) -> usize {
        let length = length.min(rest.len());
        self.code.extend(rest[..length].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        length
    }

    /// A string literal that begins here; how raw it is, the code before it tells.
    fn literal(&mut self, rest: &[char]) -> usize {
        let hashes = self.code.chars().rev().take_while(|c| *c == '#').count();
        let mut before = self.code.chars().rev().skip(hashes);
        let is_raw = before.next() == Some('r') && before.next().is_none_or(|c| matches!(c, 'b' | 'c') || !is_word(c));
        let mut end = 1;
        while end < rest.len() {
            match rest[end] {
                '\\' if !is_raw => end += 1,
                '"' if !is_raw || rest[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes => break,
                _ => {}
            }
            end += 1;
        }
        let line = self.code.matches('\n').count() + 1;
        self.literals.push((line, rest[1..end.min(rest.len())].iter().collect()));
        self.blank(rest, end + 1)
    }
}

/// Length of a block comment; they nest.
fn comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Code without what is compiled for tests only; lines stay. Such an item ends with its line, or at the next `}` in the
/// first column.
fn without_tests(code: &str) -> String {
    let (mut kept, mut skipping) = (String::with_capacity(code.len()), false);
    for line in code.lines() {
        skipping |= line.starts_with("#[cfg(test)]");
        if !skipping {
            kept.push_str(line);
        }
        kept.push('\n');
        let item = !line.starts_with(['#', ' ']) && !line.trim().is_empty();
        skipping &= !(item && (line.starts_with('}') || line.trim_end().ends_with([';', '}'])));
    }
    kept
}

/// Files that hold a module compiled for tests only: `#[cfg(test)]` and `mod name;` in the file above.
fn test_files(path: &str, text: &str) -> Vec<String> {
    let code = Lexed::of(text).code;
    let lines: Vec<&str> = code.lines().collect();
    let named = lines.windows(2).filter(|pair| pair[0].starts_with("#[cfg(test)]"));
    let named = named.filter_map(|pair| pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ")?.trim_end().strip_suffix(';'));
    let folder = [&["src".to_owned()], &*module_of(path)].concat().join("/");
    named.map(|name| format!("{folder}/{name}.rs")).collect()
}

/// Words, `::`, and other characters by themselves, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push((number + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// All paths that the code names, groups of `use` taken apart.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let (tokens, mut found, mut at) = (tokens(code), Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at].1.starts_with(is_word) {
            expand(&tokens, &mut at, Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn expand(tokens: &[(usize, String)], at: &mut usize, mut path: Vec<String>, found: &mut Vec<(usize, Vec<String>)>) {
    while let Some((line, token)) = tokens.get(*at) {
        if token == "{" {
            *at += 1;
            while let Some((_, token)) = tokens.get(*at).filter(|(_, token)| token != "}") {
                if token.starts_with(is_word) || token == "{" {
                    expand(tokens, at, path.clone(), found);
                } else {
                    *at += 1;
                }
            }
            *at += 1;
            return;
        }
        if !token.starts_with(is_word) {
            found.push((*line, path));
            return;
        }
        path.push(token.clone());
        *at += 1;
        if tokens.get(*at).is_none_or(|(_, next)| next != "::") {
            found.push((*line, path));
            return;
        }
        *at += 1;
    }
}

/// The module that a file is.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').filter(|part| *part != "lib" && *part != "main").map(str::to_owned).collect()
}

/// A path of this crate from its root; `None` for one that begins elsewhere.
fn absolute(here: &[String], path: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let from_root = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "super" => [&here[..here.len().saturating_sub(ups)], &path[ups..]].concat(),
        _ => return None,
    };
    (!from_root.is_empty()).then_some(from_root)
}

/// The words of a name, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            parts.push(String::new());
        }
        parts.last_mut().expect("there is one").extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    parts
}

/// Each check on inputs that it must not let through.
mod checks_can_fail {
    use super::*;

    fn lines(findings: &[String]) -> Vec<&str> {
        findings.iter().map(|finding| finding.split(':').nth(1).unwrap_or_default()).collect()
    }

    #[test]
    fn a_layer_that_reaches_up_or_across_is_found() {
        for (path, text) in [
            ("src/domain/money.rs", "use crate::store::Store;"),
            ("src/domain/money.rs", "use super::super::clock::Clock;"),
            ("src/wire/standard.rs", "use crate::{domain::id, transport::Target};"),
            ("src/transport/mod.rs", "use crate::wire;"),
            ("src/ops/mod.rs", "fn f() { crate::engine::start() }"),
            ("src/ops/mod.rs", "use crate::store::{\n    Page,\n    sqlite::{self, SqliteStore},\n};"),
            ("src/ops/mod.rs", "use super::engine as e;"),
            ("src/engine/scheduler.rs", "use crate::ops::Ops;"),
            ("src/http/views.rs", "use crate::store::{Feed, Store};"),
            ("src/http/views.rs", "use crate::wire::globaltopup;"),
            ("src/http/views.rs", "use crate::transport;"),
            ("src/config.rs", "use crate::engine::Engine;"),
            ("src/limits.rs", "use crate::domain::id;"),
        ] {
            assert!(!layers(path, text).is_empty(), "{path}: {text}");
        }
        assert_eq!(
            layers("src/ops/mod.rs", "\n\nuse crate::http;"),
            ["src/ops/mod.rs:3: ops names http; hand the engine a hint through group_commit::Handoff, and name a store by its trait"]
        );
    }

    #[test]
    fn what_a_layer_may_name_is_let_through() {
        for (path, text) in [
            ("src/domain/money.rs", "use crate::limits;\nuse super::id::EventId;"),
            ("src/http/routes/ledger.rs", "use super::super::engine_of_its_own::Api;"),
            ("src/http/views.rs", "use crate::wire::standard;\nuse crate::store::Feed;"),
            ("src/cli/token.rs", "use crate::store::sqlite::SqliteStore;"),
            ("src/ops/mod.rs", "// crate::engine\nconst A: &str = \"crate::engine\";\nuse crate::store::{Page, group_commit::Handoff};"),
            ("src/ops/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine;\n}"),
        ] {
            assert_eq!(layers(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn nothing_hides_behind_tests() {
        let around = "use crate::engine;\n#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::http;\n}\nuse crate::engine;\n\
                      #[cfg(test)]\nmod more;\nuse crate::engine;\n#[cfg(test)]\nmod empty {}\nuse crate::engine;\n#[cfg(test)]\nuse crate::http;\n";
        assert_eq!(lines(&layers("src/ops/mod.rs", around)), ["1", "7", "10", "13"]);
        assert_eq!(test_files("src/ops/mod.rs", around), ["src/ops/more.rs"]);
        assert_eq!(test_files("src/ops.rs", "mod a;\n#[cfg(test)]\nmod b;\nmod c;"), ["src/ops/b.rs"]);
    }

    #[test]
    fn sql_elsewhere_is_found() {
        for text in [
            "use rusqlite::Row;",
            "use tokio_postgres::Client;",
            "const A: &str = \"SELECT 1\";",
            "let a = r#\"\n  DELETE FROM event\"#;",
            "refinery::embed!()",
        ] {
            assert_eq!(sql("src/ops/mod.rs", text).len(), 1, "{text}");
            assert!(sql("src/store/sql/rows.rs", text).is_empty());
        }
        assert!(sql("src/ops/mod.rs", "// SELECT 1 with rusqlite\nlet a = \"an UPDATE \";").is_empty());
    }

    #[test]
    fn an_impure_domain_is_found() {
        for (word, _) in IMPURE {
            assert!(!purity("src/domain/x.rs", &format!("use std::{word}::x;")).is_empty(), "{word}");
        }
        assert_eq!(lines(&purity("src/domain/x.rs", "\nasync fn f() {}\nuse std::time::{Duration, SystemTime};")), ["2", "3"]);
        assert!(purity("src/domain/x.rs", "// async\nuse std::time::Duration;\nlet instant = \"Instant\";").is_empty());
    }

    #[test]
    fn packages_that_may_not_be_are_found() {
        let rules = toml::from_str("[bans]\ndeny = [{ name = \"banned\" }]\n[licenses]\nallow = [\"MIT\", \"ISC\"]").expect("rules");
        let one = |name: &str, license: &str, source: &str| {
            let package = serde_json::json!({"name": name, "license": license, "source": source});
            packages(&serde_json::json!({"packages": [package]}), &rules).len()
        };
        let index = "registry+https://example.net/crates.io-index";
        for license in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "MIT AND ISC"] {
            assert_eq!(one("fine", license, index), 0, "{license}");
        }
        for license in ["", "GPL-3.0-only", "MIT AND Apache-2.0", "my own"] {
            assert_eq!(one("odd", license, index), 1, "{license}");
        }
        assert_eq!((one("banned", "MIT", index), one("odd", "MIT", "git+https://example.net/odd")), (1, 1));
    }

    #[test]
    fn long_files_are_found_and_the_list_stays_exact() {
        let file = |lines: usize| vec![("src/a.rs".to_owned(), "x\n".repeat(lines))];
        for (lines, long, count) in
            [(601, &["src/a.rs"][..], 1), (501, &[][..], 1), (501, &["src/a.rs"][..], 0), (500, &["src/a.rs"][..], 1), (500, &[][..], 0)]
        {
            assert_eq!(sizes(&file(lines), long).len(), count, "{lines} {long:?}");
        }
        assert_eq!(sizes(&file(1), &["src/gone.rs"]).len(), 1);
    }

    #[test]
    fn words_of_others_are_found() {
        for text in [
            "struct EventManager;",
            "pub trait Helper {}",
            "enum StringUtils {}",
            "type MailService = u8;",
            "struct WebhookId(u8);",
            "mod utils;",
            "let tenant_id = 1;",
            "fn f(account: u8) {}",
            "struct Merchants;",
        ] {
            assert_eq!(words("src/a.rs", text).len(), 1, "{text}");
        }
        for text in ["let service = 1;", "// the account's manager", "let a = \"tenant\";", "struct Util1;", "fn accountable() {}"] {
            assert!(words("src/a.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_undone_is_found() {
        for text in ["fn f() { todo!() }", "unimplemented !(\"x\")", "let a = dbg!(b);", "#[test]\n#[ignore = \"slow\"]\nfn f() {}"] {
            assert_eq!(undone("src/a.rs", text).len(), 1, "{text}");
        }
        assert!(undone("src/a.rs", "// todo!()\nlet todo = \"dbg!(1)\";").is_empty());
    }

    #[test]
    fn gaps_between_migrations_are_found() {
        let check = |names: &[&str]| migrations("m", &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).len();
        assert_eq!(check(&["V0001__ledger.sql", "V0002__more_rows.sql"]), 0);
        for names in [&["V0002__ledger.sql"][..], &["V0001__a.sql", "V0003__b.sql"], &["V0001__a.sql", "V0001__b.sql"], &["0001_a.sql"]] {
            assert_eq!(check(names), 1, "{names:?}");
        }
        assert_eq!(check(&["V0001__A.sql"]), 1);
        assert_eq!(check(&["V0001__.sql"]), 1);
    }

    #[test]
    fn rows_that_are_missing_empty_double_or_unknown_are_found() {
        let manifest = "[dependencies]\na = \"1\"\n[dev-dependencies]\nb = { version = \"1\" }\n";
        let good = "| `a` | does a thing for us |\n| `b` | does another thing |\n";
        let manifest = [manifest.to_owned()];
        assert_eq!(dependencies(&manifest, good), Vec::<String>::new());
        for (bad, count) in [
            ("", 2),
            ("| `a` | does a thing for us |\nb is named somewhere\n", 1),
            ("| `a` | does a thing for us |\n| `b` | |\n", 1),
            ("| `a` | does a thing for us |\n| `b` | does another thing |\n| `a` | does it once more |\n", 1),
            ("| `a` | does a thing for us |\n| `b` | does another thing |\n| `c` | is no longer used |\n", 1),
        ] {
            assert_eq!(dependencies(&manifest, bad).len(), count, "{bad}");
        }
    }

    #[test]
    fn threats_without_a_test_are_found() {
        let files = [
            ("tests/it/authorization.rs".to_owned(), "fn knock() {}".to_owned()),
            ("tests/fuzz/main.rs".to_owned(), "tests!(a, b);".to_owned()),
        ];
        let check = |row: &str| {
            threats("docs/a.md", &format!("| asset | attacker | defence | test |\n|---|---|---|---|\n{row}"), &files, |path| path == "a")
                .len()
        };
        assert_eq!(check("| a | b | c | `authorization::knock`, `fuzz::b`, `a` |"), 0);
        for row in [
            "| a | b | c | `authorization::gone` |",
            "| a | b | c | `authorization::kn` |",
            "| a | b | c | `b` |",
            "| a | b | c | it is tested |",
            "| a | c | `a` |",
            "",
        ] {
            assert_eq!(check(row), 1, "{row}");
        }
    }

    #[test]
    fn settings_that_no_test_gives_are_found() {
        assert_eq!(not_given(&["a", "b_c", "d"], "with(&[(\"a\", \"1\")]), (\"B_C\", d)").len(), 1);
    }

    #[test]
    fn alerts_about_nothing_are_found() {
        let names = ["ringback_a", "ringback_b_seconds"];
        let check = |text: &str| lines(&alerts("docs/alerts.yml", text, &names)).len();
        assert_eq!(check("expr: rate(ringback_a[5m]) > ringback_b_seconds_bucket{le=\"1\"}\n# ringback_old"), 0);
        assert_eq!(check("expr: ringback_a > 1\nexpr: ringback_gone > 1"), 1);
    }

    #[test]
    fn machines_are_found() {
        for word in [["/wo", "rk/x"], ["/ro", "ot/.cargo"], ["registry.npm", "js.org"], ["index.crates", ".io"]] {
            assert_eq!(lines(&machines("docs/a.md", &format!("fine\nsee {}", word.concat()))), ["2"], "{word:?}");
        }
        assert!(machines("docs/a.md", "https://crates.io/crates/ringback and target/debug").is_empty());
    }

    #[test]
    fn literals_and_comments_are_told_from_code() {
        let lexed =
            Lexed::of("let a = \"x \\\" // y\"; /* b /* c */ d */ let e = br##\"f \"# g\"##; let h: &'static str = 'i'; '\\''; j // k");
        let words: Vec<String> =
            tokens(&lexed.code).into_iter().map(|(_, token)| token).filter(|token| token.starts_with(is_word)).collect();
        assert_eq!(words, ["let", "a", "let", "e", "br", "let", "h", "static", "str", "j"]);
        assert_eq!(lexed.literals, [(1, "x \\\" // y".to_owned()), (1, "f \"# g".to_owned())]);
    }
}
