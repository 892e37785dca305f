//! From the event of a settled recharge to a signed request, in both profiles, and the parts of that.

use divan::{Bencher, black_box};
use ringback::domain::endpoint::{CipherText, Profile, Settings};
use ringback::domain::event::{Event, Facts, RechargeFacts};
use ringback::domain::id::{EventId, RechargeId, StreamId};
use ringback::domain::recharge::Status;
use ringback::domain::secret::Secret;
use ringback::domain::vendor::Mode;
use ringback::wire::globaltopup::{self, Sealer};
use ringback::wire::{Turn, Writer, standard};

use crate::ledger::START;

const IV: [u8; 16] = *b"0123456789abcdef";

#[divan::bench(sample_size = 100)]
fn standard(bencher: Bencher) {
    write(bencher, &settings(Profile::Standard));
}

#[divan::bench(sample_size = 100)]
fn standard_with_ed25519(bencher: Bencher) {
    write(bencher, &Settings { signing_key: Some(Secret::new([9; 32])), ..settings(Profile::Standard) });
}

#[divan::bench(sample_size = 100)]
fn standard_body(bencher: Bencher) {
    let event = event();
    bencher.bench(|| standard::body(black_box(&event)));
}

#[divan::bench(sample_size = 100)]
fn globaltopup(bencher: Bencher) {
    write(bencher, &settings(Profile::GlobalTopup));
}

#[divan::bench(sample_size = 100)]
fn globaltopup_payload(bencher: Bencher) {
    let event = event();
    bencher.bench(|| globaltopup::payload(black_box(&event)));
}

#[divan::bench(sample_size = 100)]
fn globaltopup_encryption(bencher: Bencher) {
    let (sealer, payload) = (Sealer::new(&secret(), CipherText::Raw), globaltopup::payload(&event()));
    bencher.bench(|| sealer.seal(black_box(&payload), black_box(IV)));
}

fn write(bencher: Bencher, settings: &Settings) {
    let (writer, event, turn) = (Writer::new(settings), event(), Turn { number: 1, at: START });
    bencher.bench(|| black_box(&writer).event(black_box(&event), black_box(turn), black_box(IV)));
}

fn secret() -> Secret {
    Secret::new("0123456789abcdef0123456789abcdef")
}

fn settings(profile: Profile) -> Settings {
    Settings { profile, ..Settings::new("https://vendor.example/hook".parse().unwrap(), secret()) }
}

fn event() -> Event {
    let facts = RechargeFacts {
        id: RechargeId::new(10),
        transaction_id: 100_045,
        reference_no: "INV-7781".to_owned(),
        status: Status::Success,
        amount: Some("50.00".to_owned()),
        currency: Some("NPR".to_owned()),
        operator: Some("Ncell".to_owned()),
        connection_no: Some("9801234567".to_owned()),
        provider_ref: None,
        reason: None,
        settled_at: START,
        late: false,
        erased: false,
    };
    Event {
        id: EventId { stream: StreamId::new(7), sequence: 4711 },
        mode: Mode::Live,
        event_type: "recharge.success".into(),
        created_at: START,
        facts: Facts::Recharge(Box::new(facts)),
        numbered: true,
    }
}
