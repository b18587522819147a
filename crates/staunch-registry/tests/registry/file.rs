//! Servers in a file.

use std::fs;

use crate::support::{discovering, discovery};

#[staunch::test]
async fn a_file_with_a_mistake_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, folder.path().join("servers")).unwrap();
    };
    let keys = "file = 'servers'\nevery = '100ms'";
    discovering(discovery(folder.path(), keys), async |shop| {
        shop.until("there is none", |known| known.failures > 0).await;
        write("10.0.0.1:80 # the first\n");
        shop.tells(&["10.0.0.1:80 1"]).await;
        write("10.0.0.1:80\n10.0.0.2:80 weight=2\n");
        shop.tells(&["10.0.0.1:80 1", "10.0.0.2:80 2"]).await;
        for bad in ["10.0.0.3:80\n10.0.0.4\n", "", "# none\n", &"#".repeat(2 << 20), "\u{fffd}:1"] {
            let failures = shop.status.known().failures;
            write(bad);
            shop.until("it is noticed", |known| known.failures > failures).await;
            assert_eq!(shop.now().len(), 2);
        }
        fs::remove_file(folder.path().join("servers")).unwrap();
        let failures = shop.status.known().failures;
        shop.until("it is noticed", |known| known.failures > failures).await;
        assert_eq!(shop.now().len(), 2);
        write("10.0.0.5:80\n");
        shop.tells(&["10.0.0.5:80 1"]).await;
        assert!(shop.status.known().lost.is_none());
    })
    .await;
}

/// What could not be read is read again, though it has not changed: a process that is out of descriptors
/// has them again, and another who may read a file does not change it.
#[staunch::test]
async fn a_file_that_could_not_be_read_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let servers = folder.path().join("servers");
    fs::create_dir(&servers).unwrap(); // which is there, and cannot be read
    let keys = "file = 'servers'\nevery = '100ms'";
    discovering(discovery(folder.path(), keys), async |shop| {
        shop.until("it is tried again", |known| known.failures > 2).await;
        fs::remove_dir(&servers).unwrap();
        fs::write(&servers, "10.0.0.1:80\n").unwrap();
        shop.tells(&["10.0.0.1:80 1"]).await;
    })
    .await;
}
