//! Bodies that are saved as files.

use std::{
    fs,
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
};

use staunch_http::{ClientOptions, ReadAnswerError};

use crate::support::{says, text, with_client, with_server};

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[staunch::test(flavor = "multi_thread")]
async fn a_file_is_saved_whole_or_not_at_all() {
    let answer = |request: &hyper::Request<_>| match request.uri().path() {
        "/large" => text(vec![b'x'; 1 << 20]),
        _ => text("small"),
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let get =
            async |path: &str| client.get(format!("http://{address}{path}")).send().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        let mut told = Vec::new();
        let saved = get("/large").await.save_to(&path, 1 << 20, |at| told.push(at)).await.unwrap();
        assert_eq!((saved, fs::read(&path).unwrap()), (1 << 20, vec![b'x'; 1 << 20]));
        let last = told.last().unwrap();
        assert_eq!((last.bytes, last.total), (1 << 20, Some(1 << 20)));

        let error = get("/large").await.save_to(&path, 1000, |_| {}).await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::TooLarge { limit: 1000, .. }), "{error}");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut stop = Some(stop);
        let begun = move |_| drop(stop.take());
        tokio::select! {
            biased;
            _ = stopped => {}
            saved = get("/large").await.save_to(&path, 1 << 20, begun) => panic!("{saved:?}"),
        }
        assert_eq!((fs::read(&path).unwrap().len(), files(folder.path())), (1 << 20, 1));

        get("/").await.save_to(&path, 5, |_| {}).await.unwrap();
        assert_eq!((fs::read(&path).unwrap(), files(folder.path())), (b"small".to_vec(), 1));
        let error = get("/").await.save_to(folder.path().join("no/where"), 5, |_| {}).await;
        assert!(error.unwrap_err().to_string().contains("no/where"));
    })
    .await;
}

/// One of them breaks when both have begun, the other has its bytes in a file of its own.
#[staunch::test]
async fn two_that_save_to_one_path_leave_each_other_alone() {
    with_client(ClientOptions::default(), async |client, s| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: ";
        let whole = says(s, format!("{head}5\r\n\r\nwhole")).await;
        let part = says(s, format!("{head}9\r\n\r\npart")).await;
        let get = async |from| client.get(format!("http://{from}/")).send().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        let (began, begins) = tokio::sync::oneshot::channel::<()>();
        let mut began = Some(began);
        let answer = get(part).await;
        let stuck = answer.save_to(&path, 9, |_| drop(began.take()));
        let other = async {
            begins.await.unwrap_err(); // it has begun
            get(whole).await.save_to(&path, 5, |_| {}).await.unwrap();
            (fs::read(&path).unwrap(), files(folder.path()))
        };
        let other = tokio::select! {
            biased;
            saved = stuck => panic!("{saved:?}"),
            other = other => other,
        };
        assert_eq!(other, (b"whole".to_vec(), 2), "the part of the first is still there");
        assert_eq!((fs::read(&path).unwrap(), files(folder.path())), (b"whole".to_vec(), 1));
    })
    .await;
}

#[staunch::test]
async fn what_somebody_else_calls_a_part_stays() {
    with_server(
        ClientOptions::default(),
        |_| text("small"),
        async |client, address| {
            let folder = tempfile::tempdir().unwrap();
            let (path, other) = (folder.path().join("saved"), folder.path().join("saved.part"));
            fs::write(&other, "other").unwrap();
            let answer = client.get(format!("http://{address}/")).send().await.unwrap();
            answer.save_to(&path, 5, |_| {}).await.unwrap();
            let long = folder.path().join("n".repeat(255));
            let answer = client.get(format!("http://{address}/")).send().await.unwrap();
            answer.save_to(&long, 5, |_| {}).await.unwrap();
            assert_eq!(
                [path, other, long].map(|it| fs::read_to_string(it).unwrap()),
                ["small", "other", "small"]
            );
            assert_eq!(files(folder.path()), 3);
        },
    )
    .await;
}

#[staunch::test]
async fn what_is_no_regular_file_is_not_replaced() {
    with_server(
        ClientOptions::default(),
        |_| text("small"),
        async |client, address| {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let save = async |name: &str| {
                let answer = client.get(format!("http://{address}/")).send().await.unwrap();
                answer.save_to(at(name), 5, |_| {}).await
            };
            let _socket = UnixListener::bind(at("socket")).unwrap();
            fs::create_dir(at("folder")).unwrap();
            for (link, to) in
                [("to-socket", "socket"), ("to-file", "file"), ("to-nothing", "nothing")]
            {
                std::os::unix::fs::symlink(at(to), at(link)).unwrap();
            }
            fs::write(at("file"), "before").unwrap();
            let before = files(folder.path());
            for (name, says) in [
                ("socket", "it is a socket"),
                ("folder", "it is a directory"),
                ("to-socket", "it is a socket"),
                ("to-nothing", "it is a symbolic link to nothing"),
            ] {
                let error = save(name).await.unwrap_err();
                assert!(matches!(error, ReadAnswerError::Save { .. }), "{error}");
                let shown = format!("{}: {says}, which is not replaced", at(name).display());
                assert!(error.to_string().starts_with(&shown), "{error}");
            }
            assert!(fs::metadata(at("socket")).unwrap().file_type().is_socket());
            assert_eq!(save("to-file").await.unwrap(), 5);
            assert!(fs::symlink_metadata(at("to-file")).unwrap().is_symlink());
            assert_eq!(
                (fs::read_to_string(at("file")).unwrap(), files(folder.path())),
                ("small".into(), before)
            );
        },
    )
    .await;
}
