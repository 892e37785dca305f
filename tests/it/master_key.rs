//! `ringback master-key rotate`: a new key for all secrets, with the key in its file or in the settings, and however it is
//! interrupted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::endpoints::check_signature;
use crate::harness::{text, until};
use crate::process_errors::{KEY, OTHER_KEY, Place, Server, one_line, program, run};
use crate::receiver::Receiver;

/// Rotations that are killed, each three milliseconds later than the one before.
const ROUNDS: u64 = 40;
/// What a key is called that was put aside.
const OLD: &str = "ringback.key.old-";
/// Settings that leave the key to its file.
const IN_FILE: &[(&str, &str)] = &[("master_key", "")];

/// A database with an endpoint, whose receiver knows the secret.
struct Scene {
    place: Place,
    hook: Receiver,
    operator: String,
    vendor: String,
    secret: String,
}

impl Scene {
    /// With these settings the server is started.
    async fn set(settings: &[(&str, &str)]) -> Self {
        let (place, hook) = (Place::new(), Receiver::start().await);
        let arguments = ["token", "create", "--operator", "--json", "--database", &place.database()];
        let made = run(settings, &arguments);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let operator = text(&serde_json::from_slice::<Value>(&made.stdout).expect("JSON")["token"]);
        let mut server = Server::with(&place, settings);
        let vendor = server.call("POST", "/v1/vendors", &operator, json!({"name": "Shop", "email": "shop@example.com"})).await.expect(201);
        let live = text(&vendor["live_token"]);
        let endpoint = server.call("POST", "/v1/endpoints", &live, json!({"url": hook.url()})).await.expect(201);
        server.call("POST", &format!("/v1/endpoints/{}/connect", text(&endpoint["id"])), &live, Value::Null).await.expect(200);
        stop(&mut server).await;
        let (vendor, secret) = (text(&vendor["id"]), text(&endpoint["secret"]));
        Self { place, hook, operator, vendor, secret }
    }

    /// A server on it delivers, and signs with the same secret as ever.
    async fn delivers(&self, server: &Server, reference: &str) {
        self.hook.forget();
        let report = json!({"vendor_id": self.vendor, "reference_no": reference, "status": "success"});
        server.call("POST", "/v1/reports", &self.operator, json!({"reports": [report]})).await.expect(200);
        let request = self.hook.wait(1).await.remove(0);
        check_signature(&request, &self.secret);
        assert_eq!(request.reference(), reference);
    }

    /// It does so from a start to a stop.
    async fn works(&self, settings: &[(&str, &str)], reference: &str) {
        let mut server = Server::with(&self.place, settings);
        self.delivers(&server, reference).await;
        stop(&mut server).await;
    }

    fn rotate(&self, settings: &[(&str, &str)]) -> Output {
        run(settings, &["master-key", "rotate", "--database", &self.place.database()])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.folder.path().join(name)
    }

    fn key(&self) -> String {
        fs::read_to_string(self.file("ringback.key")).expect("there is a key").trim().to_owned()
    }

    /// Files with keys in them, but for those that were put aside.
    fn key_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place.folder.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("ringback.") && !name.starts_with(OLD)).collect();
        names.sort();
        names
    }

    fn assert_refused(&self, key: &str) {
        let said = one_line(&self.place.serve_with(key), 1);
        assert!(said.contains("master key"), "{said}");
    }
}

async fn stop(server: &mut Server) {
    server.terminate();
    assert_eq!(server.ended().await, Some(0));
}

#[track_caller]
fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

// --- The key in its file ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_new_key_takes_the_old_ones_place_and_secrets_sign_as_before() {
    let scene = Scene::set(IN_FILE).await;
    let old = scene.key();
    let told = said(&scene.rotate(&[]));
    let (sealed, aside) = told.split_once('\n').expect("two lines");
    assert_eq!(sealed, "the secrets of 1 endpoints are sealed with the new master key");
    let new = scene.key();
    assert_ne!(new, old);
    let kept = fs::read_dir(scene.place.folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let kept = kept.filter(|path| path.to_string_lossy().contains(OLD)).collect::<Vec<_>>();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    assert!(aside.contains(&*kept.to_string_lossy()), "{aside}");
    assert_eq!(fs::read_to_string(kept).expect("it is there").trim(), old);
    assert_eq!(scene.key_files(), ["ringback.key"]);
    let mode = fs::metadata(scene.file("ringback.key")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    scene.assert_refused(&old);
    scene.works(IN_FILE, "R-1").await;
    scene.works(&[("master_key", &new)], "R-2").await;
    let server = Server::with(&scene.place, IN_FILE);
    let log = server.call("GET", "/v1/audit", &scene.operator, Value::Null).await.expect(200);
    assert_eq!((&log["data"][0]["action"], &log["data"][0]["actor"]), (&json!("master_key.rotated"), &json!("command line")));
    let all = log.to_string();
    assert!(!all.contains(&old) && !all.contains(&new), "{all}");
}

#[tokio::test]
async fn it_is_refused_while_a_server_runs() {
    let scene = Scene::set(IN_FILE).await;
    let (old, mut server) = (scene.key(), Server::with(&scene.place, IN_FILE));
    let told = one_line(&scene.rotate(&[]), 1);
    assert!(told.contains("another ringback serves") && told.contains("it.db"), "{told}");
    assert_eq!((scene.key(), scene.key_files()), (old, vec!["ringback.key".to_owned()]));
    scene.delivers(&server, "R-1").await;
    stop(&mut server).await;
    assert!(scene.rotate(&[]).status.success());
    scene.works(IN_FILE, "R-2").await;
}

/// What a crash leaves behind at each step: the old key kept beside itself, the new one in its place and nothing sealed
/// with it, everything sealed and the old one still there, a file that was being written.
#[tokio::test]
async fn a_rotation_that_crashed_goes_on_after_the_next_start() {
    for step in ["kept", "replaced", "sealed", "writing"] {
        let scene = Scene::set(IN_FILE).await;
        let old = scene.key();
        match step {
            "kept" => fs::write(scene.file("ringback.key.previous"), &old).expect("it is written"),
            "replaced" => {
                fs::write(scene.file("ringback.key.previous"), &old).expect("it is written");
                fs::write(scene.file("ringback.key"), OTHER_KEY).expect("it is written");
            }
            "sealed" => {
                assert!(scene.rotate(&[]).status.success());
                fs::write(scene.file("ringback.key.previous"), &old).expect("it is written");
            }
            _ => {
                fs::write(scene.file("ringback.new"), "half a k").expect("it is written");
                fs::write(scene.file("ringback.key.new"), "half a k").expect("it is written");
            }
        }
        scene.works(IN_FILE, "R-1").await;
        scene.works(IN_FILE, "R-2").await;
        assert!(scene.rotate(&[]).status.success(), "{step}");
        assert_ne!(scene.key(), old, "{step}");
        assert_eq!(scene.key_files(), ["ringback.key"], "{step}");
        scene.assert_refused(&old);
        scene.works(IN_FILE, "R-3").await;
    }
}

/// Kills it at any moment of its work. Whatever that was, the database opens, and everything in it does.
#[tokio::test]
async fn a_rotation_that_is_killed_again_and_again_loses_nothing() {
    let scene = Scene::set(IN_FILE).await;
    let crowded = [IN_FILE, &[("endpoints_per_vendor", "1000")]].concat();
    let mut server = Server::with(&scene.place, &crowded);
    for number in 0..150 {
        let endpoint = json!({"vendor_id": scene.vendor, "url": format!("https://vendor.example/{number}")});
        server.call("POST", "/v1/endpoints", &scene.operator, endpoint).await.expect(201);
    }
    stop(&mut server).await;
    let arguments = ["master-key", "rotate", "--database", &scene.place.database()];
    let (mut killed, mut keys) = (0, std::collections::HashSet::new());
    for round in 0..ROUNDS {
        let mut child = program(&[], &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        drop(child.kill());
        killed += u32::from(!child.wait().expect("it ends").success());
        keys.insert(scene.key());
        let listed = run(&[], &["token", "list", "--database", &scene.place.database()]);
        assert!(listed.status.success(), "in round {round}: {}", String::from_utf8_lossy(&listed.stderr));
    }
    scene.works(IN_FILE, "R-1").await;
    assert!(said(&scene.rotate(&[])).starts_with("the secrets of 151 endpoints are sealed with the new master key"));
    assert_eq!(scene.key_files(), ["ringback.key"]);
    scene.works(IN_FILE, "R-2").await;
    println!("{killed} of {ROUNDS} were killed, {} keys were begun with", keys.len());
    assert!(killed > 0, "the kills hit nothing");
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let place = Place::new();
    for settings in [&[][..], &[("master_key", OTHER_KEY), ("master_key_previous", KEY)]] {
        let told = one_line(&run(settings, &["master-key", "rotate", "--database", &place.database()]), 1);
        assert!(told.contains("it.db") && told.contains("there is no database"), "{told}");
        assert_eq!(fs::read_dir(place.folder.path()).expect("a folder").count(), 0);
    }
}

#[tokio::test]
async fn a_key_that_is_missing_is_told_and_not_made_anew() {
    let scene = Scene::set(IN_FILE).await;
    let old = scene.key();
    fs::remove_file(scene.file("ringback.key")).expect("it is removed");
    let told = one_line(&scene.rotate(&[]), 1);
    assert!(told.contains("ringback.key") && told.contains("missing"), "{told}");
    assert!(scene.key_files().is_empty());
    fs::write(scene.file("ringback.key"), OTHER_KEY).expect("it is written");
    let told = one_line(&scene.rotate(&[]), 1);
    assert!(told.contains("master key"), "{told}");
    fs::write(scene.file("ringback.key"), &old).expect("it is written");
    scene.works(IN_FILE, "R-1").await;
}

// --- The key in the settings -----------------------------------------------------------------------------------------

const BOTH: &[(&str, &str)] = &[("master_key", OTHER_KEY), ("master_key_previous", KEY)];

#[tokio::test]
async fn with_keys_in_the_settings_it_runs_beside_the_server() {
    let scene = Scene::set(&[("master_key", KEY)]).await;
    let mut server = Server::with(&scene.place, BOTH);
    scene.delivers(&server, "R-1").await;
    assert_eq!(said(&scene.rotate(BOTH)), "the secrets of 1 endpoints are sealed with the new master key");
    scene.delivers(&server, "R-2").await;
    let endpoint = json!({"vendor_id": scene.vendor, "url": scene.hook.url()});
    server.call("POST", "/v1/endpoints", &scene.operator, endpoint).await.expect(201);
    stop(&mut server).await;
    scene.assert_refused(KEY);
    scene.works(&[("master_key", OTHER_KEY)], "R-3").await;
    assert!(scene.key_files().is_empty(), "no file is made");
    assert!(scene.rotate(BOTH).status.success(), "once more does no harm");
    scene.works(&[("master_key", OTHER_KEY)], "R-4").await;
}

#[tokio::test]
async fn what_is_wrong_with_the_keys_is_told() {
    let scene = Scene::set(&[("master_key", KEY)]).await;
    for (settings, code, word) in [
        (&[("master_key", OTHER_KEY)][..], 64, "master_key_previous"),
        (&[("master_key", OTHER_KEY), ("master_key_previous", "short")], 64, "master_key_previous"),
        (&[("master_key", OTHER_KEY), ("master_key_previous", OTHER_KEY)], 1, "master key"),
        (&[], 1, "ringback.key"),
    ] {
        let told = one_line(&scene.rotate(settings), code);
        assert!(told.contains(word) && !told.contains(OTHER_KEY), "{told}");
        assert!(scene.key_files().is_empty());
    }
    scene.works(&[("master_key", KEY)], "R-1").await;
}

/// A key that was made at random, in the settings of one start and in the file of the next.
#[tokio::test]
async fn a_key_may_move_between_settings_and_file() {
    let scene = Scene::set(IN_FILE).await;
    let key = scene.key();
    assert_eq!(BASE64.decode(&key).expect("base64").len(), 32);
    fs::remove_file(scene.file("ringback.key")).expect("it is removed");
    scene.works(&[("master_key", &key)], "R-1").await;
    fs::write(scene.file("ringback.key"), format!("{key}\n")).expect("it is written");
    assert!(scene.rotate(&[]).status.success());
    until("the new key opens", || async { (scene.key() != key).then_some(()) }).await;
    scene.works(IN_FILE, "R-2").await;
}
