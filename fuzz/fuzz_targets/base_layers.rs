//! Any layers of an image: no panic, no endless loop, and the result is a tree.
//! A completely applied layer leaves no whiteout.
//! A layer is read to its end, so that its digest covers all bytes.
#![no_main]

use vm2docker_self::image::image_layers::ImageLayers;
use vm2docker_self_fuzz::{assert_tree, fix_checksums, stated_size};

/// Separator: a block of this byte between two layers in the fuzzer's input.
const NEXT: [u8; 512] = [b'~'; 512];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    fix_checksums(&mut bytes);
    let blocks: Vec<&[u8]> = bytes.chunks(512).collect();
    let layers: Vec<Vec<u8>> = blocks.split(|block| **block == NEXT).map(<[&[u8]]>::concat).collect();
    if layers.iter().any(|layer| stated_size(layer) > 1 << 20) {
        return;
    }
    let mut image = ImageLayers::new(&|path| path.starts_with(b"etc/"));
    for layer in &layers {
        let mut rest = layer.as_slice();
        let result = image.apply(&mut rest);
        assert!(result.is_err() || rest.is_empty());
    }
    let contents = image.finish();
    assert_tree(&contents.nodes);
    let whiteout =
        |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().is_some_and(|name| name.starts_with(b".wh."));
    // A directory of that name can be implied by the members in it.
    let left = contents.nodes.iter().find(|node| whiteout(&node.path) && node.kind.name() != "directory");
    assert!(left.is_none(), "{left:?}");
});
