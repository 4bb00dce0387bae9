//! Any file: no panic.
//! The image's reference is valid in a Dockerfile: one repository, and one tag of the allowed
//! characters.
//! The identifier is in lower case, as in the table of images.
#![no_main]

use vm2docker_self::detect::os_release;
use vm2docker_self::image::images;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let os = os_release::parse(text);
    assert!(!os.id.bytes().any(|byte| byte.is_ascii_uppercase()));
    if let Some(image) = images::of(&os) {
        let (repository, tag) = image.reference.split_once(':').expect("a tag");
        assert!(!repository.is_empty() && !tag.is_empty());
        assert!(image.reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte)));
    }
});
