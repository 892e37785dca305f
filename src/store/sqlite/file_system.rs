//! What a file is on: SQLite needs locks and shared memory that network file systems do not keep to.

use std::path::Path;

/// The network file system that a file is on, if it is on one.
pub(super) fn network_file_system(path: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    network_file_system_of(u32::try_from(kind).ok()?)
}

/// File systems by their numbers in statfs(2).
fn network_file_system_of(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "CephFS",
        0x5346_414f => "AFS",
        0x0bd0_0bd0 => "Lustre",
        0x786f_4256 => "vboxsf",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known() {
        let (ext4, tmpfs) = (0xef53, 0x0102_1994);
        assert_eq!([0x6969, 0xff53_4d42, ext4, tmpfs].map(network_file_system_of), [Some("NFS"), Some("SMB"), None, None]);
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(network_file_system(folder.path()), None);
    }
}
