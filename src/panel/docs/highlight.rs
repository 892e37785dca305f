//! Marks comments, strings, keywords, numbers and variables in code, as classes for the style sheet.

use std::fmt::Write;

/// What is marked in a language.
struct Language {
    comments: &'static [&'static str],
    quotes: &'static [char],
    keywords: &'static [&'static str],
    /// Whether `$name` is a variable, and whether `--name` is an option.
    has_variables: bool,
    has_options: bool,
}

const PLAIN: Language = Language { comments: &[], quotes: &[], keywords: &[], has_variables: false, has_options: false };
const DATA: Language = Language { comments: &["#"], quotes: &['"', '\''], keywords: &["true", "false", "null"], ..PLAIN };
const SHELL: Language = Language {
    comments: &["#"],
    quotes: &['"', '\''],
    keywords: &[
        "if",
        "then",
        "else",
        "fi",
        "for",
        "do",
        "done",
        "while",
        "export",
        "cat",
        "curl",
        "jq",
        "ringback",
        "systemctl",
        "cargo",
        "make",
    ],
    has_variables: true,
    has_options: true,
};
const SCRIPT: Language = Language {
    comments: &["//"],
    quotes: &['"', '\'', '`'],
    keywords: &[
        "as",
        "async",
        "await",
        "break",
        "catch",
        "class",
        "const",
        "continue",
        "default",
        "else",
        "enum",
        "export",
        "extends",
        "false",
        "fn",
        "for",
        "from",
        "function",
        "if",
        "impl",
        "import",
        "in",
        "let",
        "loop",
        "match",
        "mod",
        "move",
        "mut",
        "new",
        "null",
        "pub",
        "return",
        "self",
        "static",
        "struct",
        "switch",
        "throw",
        "true",
        "try",
        "type",
        "undefined",
        "use",
        "var",
        "while",
    ],
    ..PLAIN
};
const RUST: Language = Language { quotes: &['"'], ..SCRIPT };
const PHP: Language = Language { comments: &["//", "#"], has_variables: true, ..SCRIPT };
const PYTHON: Language = Language {
    comments: &["#"],
    quotes: &['"', '\''],
    keywords: &[
        "and", "as", "async", "await", "class", "def", "elif", "else", "except", "False", "finally", "for", "from", "if", "import", "in",
        "is", "lambda", "None", "not", "or", "raise", "return", "self", "True", "try", "while", "with",
    ],
    ..PLAIN
};
const SQL: Language = Language {
    comments: &["--"],
    quotes: &['\''],
    keywords: &[
        "ALTER", "CREATE", "DATABASE", "ENCODING", "FROM", "GRANT", "INSERT", "ON", "OWNER", "SELECT", "SET", "TO", "UPDATE", "WHERE",
    ],
    ..PLAIN
};
const HTTP: Language = Language { keywords: &["GET", "POST", "PUT", "PATCH", "DELETE", "HTTP"], quotes: &['"'], ..PLAIN };

fn language(name: &str) -> Language {
    match name {
        "sh" | "bash" | "shell" | "console" | "dockerfile" => SHELL,
        "json" | "toml" | "ini" | "yaml" | "yml" | "nginx" | "haproxy" | "caddy" | "conf" => DATA,
        "js" | "javascript" | "ts" | "mjs" => SCRIPT,
        "rust" | "rs" => RUST,
        "php" => PHP,
        "python" | "py" => PYTHON,
        "sql" => SQL,
        "http" => HTTP,
        _ => PLAIN,
    }
}

/// Code as HTML.
pub(super) fn highlighted(name: &str, code: &str) -> String {
    let (language, mut out, mut rest, mut begins) = (language(name), String::new(), code, true);
    while let Some(letter) = rest.chars().next() {
        let (length, class) = language.token(rest, begins);
        let (token, after) = rest.split_at(length.max(letter.len_utf8()));
        let is_key = class == "s" && language.comments == DATA.comments && after.trim_start().starts_with(':');
        match if is_key { "v" } else { class } {
            "" => escape(&mut out, token),
            class => {
                let _ = write!(out, "<span class=\"hl-{class}\">");
                escape(&mut out, token);
                out.push_str("</span>");
            }
        }
        begins = token.ends_with(|last: char| last.is_whitespace() || "([{".contains(last));
        rest = after;
    }
    out
}

impl Language {
    /// The length and class of the token that the text begins with. `begins` says whether a space stands in front of it.
    fn token(&self, text: &str, begins: bool) -> (usize, &'static str) {
        let first = text.chars().next().unwrap_or_default();
        let while_in =
            |is_part: fn(char) -> bool, from: usize| text[from..].find(|letter| !is_part(letter)).map_or(text.len(), |at| at + from);
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        if begins && self.comments.iter().any(|comment| text.starts_with(comment)) {
            return (text.find('\n').unwrap_or(text.len()), "c");
        }
        if self.quotes.contains(&first) {
            return (quoted(text, first), "s");
        }
        if self.has_variables && first == '$' {
            return (while_in(is_name, 1), "v");
        }
        if self.has_options && begins && first == '-' {
            return (while_in(|letter| letter.is_alphanumeric() || letter == '-', 0), "o");
        }
        if first.is_ascii_digit() && !self.quotes.is_empty() {
            return (while_in(|letter| letter.is_alphanumeric() || letter == '.' || letter == '_', 0), "n");
        }
        if is_name(first) {
            let end = while_in(is_name, 0);
            let is_keyword = (begins || !self.has_options) && self.keywords.contains(&&text[..end]);
            return (end, if is_keyword { "k" } else { "" });
        }
        (first.len_utf8(), "")
    }
}

/// The length of a quoted text; one that does not end on its line is a quote alone.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '\n' => return 1,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            letter if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    1
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_code_are_marked_and_nothing_else_changes() {
        let shell = highlighted("sh", "curl --json \"$x\" <y> # why\n");
        assert!(
            shell.starts_with(
                "<span class=\"hl-k\">curl</span> <span class=\"hl-o\">--json</span> <span class=\"hl-s\">&quot;$x&quot;</span>"
            )
        );
        assert!(shell.ends_with(" &lt;y&gt; <span class=\"hl-c\"># why</span>\n"), "{shell}");
        assert_eq!(highlighted("json", "\"a\": 1"), "<span class=\"hl-v\">&quot;a&quot;</span>: <span class=\"hl-n\">1</span>");
        for name in ["sh", "json", "rust", "php", "sql", "http", "", "unknown"] {
            let code = "a 'b \"ü\n\\ $ -- // # x\n├─▶ 1";
            let (mut plain, mut is_tag) = (String::new(), false);
            for letter in highlighted(name, code).chars() {
                is_tag |= letter == '<';
                if !is_tag {
                    plain.push(letter);
                }
                is_tag &= letter != '>';
            }
            assert_eq!(plain.replace("&quot;", "\"").replace("&gt;", ">"), code, "{name}");
        }
    }
}
