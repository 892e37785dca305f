//! Lists the documents, so that a new page in `docs/` is served without being named anywhere.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=docs");
    let mut files = Vec::new();
    walk(&root.join("docs"), &mut files);
    files.extend(["ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root.join(name)));
    files.sort();
    let is_page = |path: &Path| path.extension().is_some_and(|ending| ending == "md");
    let (pages, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| is_page(path));
    let text: String = pages.iter().filter_map(|page| fs::read_to_string(page).ok()).collect();
    // Pictures that no page shows are not needed.
    let is_shown = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| text.contains(name));
    let list = |paths: &[PathBuf], macro_name: &str| {
        let entry = |path: &PathBuf| {
            let name = path.strip_prefix(&root).expect("it is below the root").display().to_string();
            format!("({name:?}, {macro_name}!({:?})),", path.display().to_string())
        };
        paths.iter().map(entry).collect::<String>()
    };
    let others: Vec<PathBuf> = others.into_iter().filter(is_shown).collect();
    let generated = format!(
        "static SOURCES: &[(&str, &str)] = &[{}];\nstatic BESIDE: &[(&str, &[u8])] = &[{}];\n",
        list(&pages, "include_str"),
        list(&others, "include_bytes")
    );
    fs::write(out.join("documents.rs"), generated).expect("the build folder can be written");
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}
