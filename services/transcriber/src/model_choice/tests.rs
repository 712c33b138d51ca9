#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use callfold_kit::testing::wait_for;
use callfold_schema::event::FailureClass;

use super::*;

/// The beginning of a speech model of `words` words, as long as `bytes`.
fn speech(words: u32, bytes: usize) -> Vec<u8> {
    let mut file = GGML_MAGIC.to_vec();
    // The vocabulary, the audio's context, state, heads, layers; the text's context and state (the width).
    for number in [words, 1500, 96, 3, 4, 448, 8] {
        file.extend(number.to_le_bytes());
    }
    file.resize(bytes.max(words as usize * 2), 0);
    file
}

fn vad() -> Vec<u8> {
    let mut file = GGML_MAGIC.to_vec();
    file.extend(10_u32.to_le_bytes());
    file.extend(b"silero-16k");
    file.resize(900_000, 1);
    file
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        // As `fetch` does it: whole or not at all.
        let part = self.0.path().join("new.part");
        std::fs::write(&part, bytes).unwrap();
        std::fs::rename(part, &path).unwrap();
        path
    }

    fn choice(&self) -> ModelChoice {
        ModelChoice {
            folder: Some(self.0.path().to_owned()),
            real_calls: true,
            ..ModelChoice::default()
        }
    }
}

fn file(path: &Path) -> Option<ModelSource> {
    Some(ModelSource::File(path.to_owned()))
}

#[test]
fn the_setting_goes_before_the_file_in_use_and_that_before_the_largest() {
    let folder = Folder::new();
    let choice = folder.choice();
    assert_eq!(choice.current().unwrap(), None);
    let trying_out = ModelChoice {
        real_calls: false,
        ..choice.clone()
    };
    assert_eq!(trying_out.choose().unwrap().unwrap().reason, Reason::TryingOut);
    let nowhere = ModelChoice {
        folder: Some(folder.0.path().join("nowhere")),
        ..choice.clone()
    };
    assert_eq!(nowhere.current().unwrap(), None);

    folder.put("small.bin", &speech(51_865, 200_000));
    let large = folder.put("large.bin", &speech(51_866, 300_000));
    // None of these recognises Hebrew.
    folder.put("larger.bin", b"<html>sign in</html>");
    folder.put("silero-v6.bin", &vad());
    folder.put("large.en.bin", &speech(51_864, 400_000));
    folder.put("begun.bin.part", &speech(51_866, 500_000));
    folder.put("cut.bin", &speech(51_866, 0)[..1000]);
    folder.put("zeros.bin", &[0; 500_000]);
    std::fs::create_dir(folder.0.path().join("folder.bin")).unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.0.path().join("link.bin")).unwrap();
    let chosen = choice.choose().unwrap().unwrap();
    assert_eq!(
        (Some(chosen.source), chosen.reason),
        (file(&large), Reason::Largest)
    );

    folder.put(IN_USE_FILE, b"small.bin\n");
    let chosen = choice.choose().unwrap().unwrap();
    assert_eq!(chosen.reason, Reason::InUse);
    assert_eq!(chosen.source.model_name(), "small");
    folder.put(IN_USE_FILE, b"demo");
    assert_eq!(choice.current().unwrap(), Some(ModelSource::Demo));
    folder.put(IN_USE_FILE, large.to_str().unwrap().as_bytes());
    assert_eq!(choice.current().unwrap(), file(&large));

    let named = ModelChoice {
        setting: Some("demo".to_owned()),
        ..choice
    };
    let chosen = named.choose().unwrap().unwrap();
    assert_eq!(
        (chosen.source, chosen.reason),
        (ModelSource::Demo, Reason::Setting)
    );
}

#[test]
fn a_choice_that_leads_nowhere_is_an_error_and_no_other_model() {
    let folder = Folder::new();
    folder.put("large.bin", &speech(51_866, 300_000));
    folder.put(IN_USE_FILE, b"gone.bin");
    assert!(matches!(folder.choice().current(), Err(ChoiceError::Gone { .. })));
    for nonsense in [&b""[..], b"  \n", b"a\nb", b"\xff\xfe"] {
        folder.put(IN_USE_FILE, nonsense);
        assert!(matches!(
            folder.choice().current(),
            Err(ChoiceError::Unreadable { .. })
        ));
    }
}

#[test]
fn the_vad_model_is_known_by_its_content() {
    let folder = Folder::new();
    let choice = folder.choice();
    folder.put("large.bin", &speech(51_866, 300_000));
    folder.put("silero.bin", b"not one");
    assert_eq!(choice.vad(), None);
    folder.put("ggml-silero-v5.1.2.bin", &vad());
    let newer = folder.put("ggml-silero-v6.2.0.bin", &vad());
    assert_eq!(choice.vad(), Some(newer));
    let named = ModelChoice {
        vad_setting: Some("/elsewhere/silero.bin".into()),
        ..choice
    };
    assert_eq!(named.vad(), Some("/elsewhere/silero.bin".into()));
    assert_eq!(ModelChoice::default().vad(), None);
}

/// Takes every model but those whose name says that it is broken.
#[derive(Default)]
struct Slot(Mutex<Vec<String>>, Mutex<Option<PathBuf>>);

impl Slot {
    fn taken(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl ModelSlot for Slot {
    async fn set_model(&self, source: ModelSource) -> Result<(), EngineError> {
        let name = source.model_name();
        if name.contains("broken") {
            return Err(EngineError::Unavailable {
                class: FailureClass::Invalid,
                text: format!("{name} does not load"),
                after: None,
                source: None,
            });
        }
        self.0.lock().unwrap().push(name);
        Ok(())
    }

    fn set_vad(&self, vad: Option<PathBuf>) {
        *self.1.lock().unwrap() = vad;
    }
}

struct Watched {
    slot: Arc<Slot>,
    told: Arc<Mutex<Vec<Change>>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn start(choice: ModelChoice) -> Self {
        let (slot, told) = (Arc::new(Slot::default()), Arc::new(Mutex::new(Vec::new())));
        let stop = CancellationToken::new();
        let loaded = choice.current().unwrap();
        let task = tokio::spawn({
            let (slot, told, stop) = (Arc::clone(&slot), Arc::clone(&told), stop.clone());
            async move {
                let every = Duration::from_millis(5);
                let tell = move |change| told.lock().unwrap().push(change);
                watch(choice, &*slot, loaded, every, stop, tell).await;
            }
        });
        Self {
            slot,
            told,
            stop,
            task,
        }
    }

    async fn told(&self, count: usize) -> Vec<Change> {
        wait_for("what the watch tells", async || {
            Some(self.told.lock().unwrap().clone()).filter(|told| told.len() >= count)
        })
        .await
    }
}

#[tokio::test]
async fn a_model_that_is_fetched_chosen_or_replaced_is_taken_up() {
    let folder = Folder::new();
    let watched = Watched::start(folder.choice());
    // Nothing at first: recordings wait.
    let small = folder.put("small.bin", &speech(51_865, 200_000));
    assert_eq!(watched.told(1).await, [Change::Taken(ModelSource::File(small))]);
    folder.put("large.bin", &speech(51_866, 300_000));
    watched.told(2).await;
    folder.put(IN_USE_FILE, b"small.bin");
    watched.told(3).await;
    // Another file under the same name.
    folder.put("small.bin", &speech(51_865, 200_000));
    watched.told(4).await;
    folder.put(IN_USE_FILE, b"demo");
    watched.told(5).await;
    assert_eq!(
        watched.slot.taken(),
        ["small", "large", "small", "small", "ggml-micro-he"]
    );
    let silero = folder.put("silero.bin", &vad());
    wait_for("the VAD model", async || {
        (*watched.slot.1.lock().unwrap() == Some(silero.clone())).then_some(())
    })
    .await;
    watched.stop.cancel();
    watched.task.await.unwrap();
    assert_eq!(watched.told.lock().unwrap().len(), 5, "each change is told once");
}

#[tokio::test]
async fn what_cannot_be_used_is_told_once_and_the_old_model_goes_on() {
    let folder = Folder::new();
    folder.put("good.bin", &speech(51_865, 200_000));
    folder.put("broken.bin", &speech(51_865, 100_000));
    let watched = Watched::start(folder.choice());
    folder.put(IN_USE_FILE, b"broken.bin");
    assert_eq!(
        watched.told(1).await,
        [Change::Refused("broken does not load".to_owned())]
    );
    folder.put(IN_USE_FILE, b"gone.bin");
    assert!(
        matches!(&watched.told(2).await[1], Change::Refused(why) if why.contains("gone.bin is to be used"))
    );
    folder.put(IN_USE_FILE, b"good.bin");
    assert_eq!(watched.told(3).await[2], Change::Back);
    std::fs::remove_file(folder.0.path().join(IN_USE_FILE)).unwrap();
    std::fs::remove_file(folder.0.path().join("broken.bin")).unwrap();
    std::fs::remove_file(folder.0.path().join("good.bin")).unwrap();
    assert_eq!(
        watched.told(4).await[3],
        Change::Refused("its file is gone".to_owned())
    );
    watched.stop.cancel();
    watched.task.await.unwrap();
    assert_eq!(watched.told.lock().unwrap().len(), 4);
    assert!(watched.slot.taken().is_empty(), "nothing was loaded again");
}

#[test]
fn a_file_that_still_grows_is_left_alone() {
    use std::io::Write as _;
    let folder = Folder::new();
    let choice = folder.choice();
    let mut watcher = Watcher::new(Look::at(&choice));
    let path = folder.0.path().join("copied.bin");
    let mut file = File::create(&path).unwrap();
    file.write_all(&speech(51_865, 200_000)).unwrap();
    for _ in 0..3 {
        assert_eq!(watcher.see(Look::at(&choice)), Step::Nothing);
        file.write_all(&[1; 100_000]).unwrap();
    }
    assert_eq!(watcher.see(Look::at(&choice)), Step::Nothing);
    assert_eq!(
        watcher.see(Look::at(&choice)),
        Step::Load(ModelSource::File(path))
    );
    assert_eq!(watcher.see(Look::at(&choice)), Step::Nothing);
}

#[test]
fn a_vad_model_that_still_grows_or_is_replaced_is_set_when_it_is_whole() {
    use std::io::Write as _;
    let folder = Folder::new();
    let choice = folder.choice();
    let mut watcher = VadWatcher::new(look_at_vad(&choice));
    assert_eq!(watcher.path(), None);
    let path = folder.0.path().join("silero.bin");
    let mut file = File::create(&path).unwrap();
    file.write_all(&vad()).unwrap();
    for _ in 0..3 {
        assert!(!watcher.see(look_at_vad(&choice)));
        file.write_all(&[1; 1_000]).unwrap();
    }
    assert!(!watcher.see(look_at_vad(&choice)));
    assert!(watcher.see(look_at_vad(&choice)));
    assert_eq!(watcher.path(), Some(path));
    assert!(!watcher.see(look_at_vad(&choice)));
    // Another file under the same name.
    folder.put("silero.bin", &vad());
    assert!(!watcher.see(look_at_vad(&choice)));
    assert!(watcher.see(look_at_vad(&choice)));
}
