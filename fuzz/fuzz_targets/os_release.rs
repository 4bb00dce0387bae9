//! Whatever the file: no panic.
//! The image's reference is fit for a Dockerfile: one repository, one tag of the allowed characters, nothing else.
//! The identifier is in lower case, as the table of images has it.
#![no_main]

use vm2docker_self::image;
use vm2docker_self::detect::os_release;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let os = os_release::parse(text);
    assert!(!os.id.bytes().any(|byte| byte.is_ascii_uppercase()));
    if let Some(image) = image::image_of(&os) {
        let (repository, tag) = image.reference.split_once(':').expect("a tag");
        assert!(!repository.is_empty() && !tag.is_empty());
        assert!(image.reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:/".contains(&byte)));
    }
});
