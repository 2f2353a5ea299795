//! Tells the linker that Node provides the symbols of N-API when it loads the addon.

fn main() {
    napi_build::setup();
}
