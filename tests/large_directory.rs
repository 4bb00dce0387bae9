//! Directories with more names than the walk holds in memory at a time.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::tool::Place;

#[test]
fn convert_directory_of_many_names_lists_each_once() {
    const FILES: usize = 40_000;
    let place = Place::new();
    let sqlite =
        "file 0644 0:0 /srv/many/z.db \"SQLite format 3\\x00\"\nfile 0644 0:0 /srv/many/z.db-wal x\n";
    let os_release = "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n";
    let many = place.root("machine", &format!("{os_release}{sqlite}")).join("srv/many");
    (0..FILES).for_each(|number| std::fs::write(many.join(format!("{number:05}")), "").unwrap());
    for threads in ["1", "4"] {
        place.convert(&format!("ctx{threads}"), &["--threads", threads]).ends(0);
    }
    for name in ["manifest.jsonl.zst", "delta.tar.zst", "findings.jsonl"] {
        let read = |ctx: &str| std::fs::read(place.path(ctx).join(name)).unwrap();
        assert!(read("ctx1") == read("ctx4"), "{name}");
    }
    let manifest = place.manifest("ctx1");
    let with_verdict = |verdict: &str| {
        let within = |record: &&serde_json::Value| record["path"].as_str().unwrap().starts_with("/srv/many/");
        manifest.iter().filter(within).filter(|record| record["verdict"] == verdict).count()
    };
    // The live database is recognized, although its files are in different parts of the list.
    assert_eq!((with_verdict("keep"), with_verdict("volume")), (FILES, 2));
}
