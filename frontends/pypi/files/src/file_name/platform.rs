//! The platform tags that installers ask for: another one would never be installed by anybody.

use super::FileNameError;
use crate::quote::quote;

const PLAIN: &[&str] = &["any", "win32", "win_amd64", "win_arm64", "win_ia64"];
const LEGACY_LINUX: &[&str] = &[
    "linux_armv6l",
    "linux_armv7l",
    "manylinux1_i686",
    "manylinux1_x86_64",
    "manylinux2010_i686",
    "manylinux2010_x86_64",
    "manylinux2014_aarch64",
    "manylinux2014_armv7l",
    "manylinux2014_i686",
    "manylinux2014_ppc64",
    "manylinux2014_ppc64le",
    "manylinux2014_s390x",
    "manylinux2014_x86_64",
];
const LINUX: &[&str] = &["aarch64", "armv7l", "i686", "ppc64le", "riscv64", "s390x", "x86_64"];
const MACOS: &[&str] = &[
    "arm64",
    "fat",
    "fat3",
    "fat64",
    "i386",
    "intel",
    "ppc",
    "ppc64",
    "universal",
    "universal2",
    "x86_64",
];
const ANDROID: &[&str] = &["arm64_v8a", "armeabi_v7a", "x86", "x86_64"];
const IOS: &[&str] =
    &["arm64_iphoneos", "arm64_iphonesimulator", "x86_64_iphoneos", "x86_64_iphonesimulator"];

pub(super) fn check(name: &str, tags: &[String]) -> Result<(), FileNameError> {
    match tags.iter().find(|tag| !is_known(tag)) {
        None => Ok(()),
        Some(tag) => {
            Err(FileNameError::Platform { name: quote(name), tag: quote(tag), hint: hint(tag) })
        }
    }
}

fn is_known(tag: &str) -> bool {
    if PLAIN.contains(&tag) || LEGACY_LINUX.contains(&tag) {
        return true;
    }
    let Some((system, rest)) = tag.split_once('_') else { return false };
    if system == "android" {
        return rest
            .split_once('_')
            .is_some_and(|(level, machine)| number(level).is_some() && ANDROID.contains(&machine));
    }
    let mut parts = rest.splitn(3, '_');
    let (Some(major), Some(minor), Some(machine)) =
        (parts.next().and_then(number), parts.next().and_then(number), parts.next())
    else {
        return false;
    };
    match system {
        "manylinux" => LINUX.contains(&machine) || machine == "ppc64",
        "musllinux" => LINUX.contains(&machine),
        // Since version 11 installers ask for minor version 0 alone; 16 to 25 never were.
        "macosx" => {
            let version = major == 10 || (minor == 0 && matches!(major, 11..=15 | 26..));
            version && MACOS.contains(&machine)
        }
        "ios" => IOS.contains(&machine),
        "pyemscripten" => machine == "wasm32",
        _ => false,
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn hint(tag: &str) -> &'static str {
    if tag.starts_with("linux_") {
        "; build for manylinux or musllinux (auditwheel repair), which says what the wheel needs"
    } else if tag.starts_with("macosx_") {
        "; since version 11 it is macosx_MAJOR_0_MACHINE"
    } else {
        ""
    }
}
