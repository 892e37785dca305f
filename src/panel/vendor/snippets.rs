//! What a receiver has to do with a request before it believes it, in four languages, for an endpoint's own settings.

use maud::{Markup, html};

use super::super::components::code;
use crate::domain::endpoint::{Profile, Settings};
use crate::ops::secret_hint;

/// A language, and what stands there in it.
struct Snippet {
    language: &'static str,
    needs: &'static str,
    verify: &'static str,
    /// What comes on top for the profile `globaltopup`.
    decrypt: &'static str,
}

const SNIPPETS: [Snippet; 4] = [
    Snippet {
        language: "PHP",
        needs: "nothing but PHP",
        verify: include_str!("snippets/verify.php"),
        decrypt: include_str!("snippets/decrypt.php"),
    },
    Snippet {
        language: "Node.js",
        needs: "nothing but Node.js",
        verify: include_str!("snippets/verify.js"),
        decrypt: include_str!("snippets/decrypt.js"),
    },
    Snippet {
        language: "Python",
        needs: "for globaltopup the package cryptography",
        verify: include_str!("snippets/verify.py"),
        decrypt: include_str!("snippets/decrypt.py"),
    },
    Snippet {
        language: "Rust",
        needs: "base64, hmac, sha2; for globaltopup aes and cbc too",
        verify: include_str!("snippets/verify.rs.txt"),
        decrypt: include_str!("snippets/decrypt.rs.txt"),
    },
];

pub(super) fn section(settings: &Settings) -> Markup {
    let is_older = settings.profile == Profile::GlobalTopup;
    html! {
        section.sheet #verify {
            h2 { "Verify what comes" }
            p {
                "Over the bytes as they came, before anything is parsed. The secret is the one that ends in " code { (secret_hint(settings)) }
                @if is_older { ", as whsec_ and its base64: it was shown so beside the secret" } ". Answer 400 to what does not verify, and 2xx to all else, at once."
            }
            @for snippet in &SNIPPETS {
                details.more open[snippet.language == "PHP"] {
                    summary { (snippet.language) }
                    p.help { "Needs " (snippet.needs) "." }
                    (code(&format!("{}: verify", snippet.language), snippet.verify))
                    @if is_older { (code(&format!("{}: decrypt", snippet.language), snippet.decrypt)) }
                }
            }
            p.soft { "Complete receivers, which also remember what they have seen, are in the documents (docs/receiving.md)." }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::domain::endpoint::CipherText;
    use crate::domain::secret::Secret;
    use crate::wire::{globaltopup, standard};

    /// What each snippet is run with: its own functions, called with what stands in the environment.
    const RUN: [(&str, &str, &str, &str); 3] = [
        (
            "PHP",
            "php",
            "php",
            "\necho verified(getenv('BODY'), json_decode(getenv('HEADERS'), true), getenv('SECRET')) ? 'yes' : 'no';\nif (function_exists('decrypted')) { echo decrypted(getenv('BODY'), getenv('PLAIN')); }\n",
        ),
        (
            "Node.js",
            "node",
            "cjs",
            "\nprocess.stdout.write(verified(process.env.BODY, JSON.parse(process.env.HEADERS), process.env.SECRET) ? 'yes' : 'no');\nif (typeof decrypted === 'function') process.stdout.write(decrypted(process.env.BODY, process.env.PLAIN));\n",
        ),
        (
            "Python",
            "python3",
            "py",
            "\nimport os, sys\nsys.stdout.write('yes' if verified(os.environ['BODY'].encode(), json.loads(os.environ['HEADERS']), os.environ['SECRET']) else 'no')\n",
        ),
    ];

    fn run(at: usize, text: &str, body: &str, (secret, plain): (&str, &str), headers: &str) -> String {
        let (_, program, ending, call) = RUN[at];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("snippet.{ending}"));
        std::fs::write(&file, format!("{text}{call}")).unwrap();
        let envs = [("BODY", body), ("SECRET", secret), ("HEADERS", headers), ("PLAIN", plain)];
        let output = Command::new(program).arg(&file).envs(envs).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn snippets_verify_what_is_signed_and_nothing_else() {
        let secret = Secret::new(*b"0123456789abcdef0123456789abcdef");
        let settings = Settings::new("https://a.example/".parse().unwrap(), secret.clone());
        let now = crate::clock::Environment::system(0).clock.now();
        let (id, body, text) = ("evt_1", r#"{"type":"recharge.success"}"#, standard::secret_text(&secret));
        let signature = standard::Signer::new(&settings).sign(id, now, body.as_bytes());
        let seconds = now.as_millis() / 1000;
        let headers = |signature: &str, at: i64| {
            serde_json::json!({"webhook-id": id, "webhook-timestamp": at.to_string(), "webhook-signature": signature}).to_string()
        };
        for at in 0..RUN.len() {
            let verified = |body: &str, headers: &str| run(at, SNIPPETS[at].verify, body, (&text, ""), headers);
            assert_eq!(verified(body, &headers(&signature, seconds)), "yes", "{}", RUN[at].0);
            assert_eq!(verified(body, &headers(&format!("v1,AAAA {signature}"), seconds)), "yes", "one that fits is enough");
            assert_eq!(verified(&format!("{body} "), &headers(&signature, seconds)), "no", "a changed body");
            assert_eq!(verified(body, &headers(&signature, seconds - 3600)), "no", "another time");
            assert_eq!(verified(body, &headers("v1,AAAA", seconds)), "no", "a wrong signature");
        }
    }

    #[test]
    fn snippets_decrypt_both_cipher_texts() {
        let (secret, plain) = ("0123456789abcdef0123456789abcdef", r#"{"status":"Success"}"#);
        for cipher_text in CipherText::ALL {
            let sealed = globaltopup::Sealer::new(&Secret::new(secret), cipher_text).seal(plain.as_bytes(), [7; 16]);
            let body = format!(r#"{{"data":"{sealed}"}}"#);
            for at in 0..2 {
                let text = format!("{}\n{}", SNIPPETS[at].verify, SNIPPETS[at].decrypt.trim_start_matches("<?php"));
                assert_eq!(run(at, &text, &body, ("whsec_AAAA", secret), "{}"), format!("no{plain}"), "{} {cipher_text:?}", RUN[at].0);
            }
        }
    }
}
