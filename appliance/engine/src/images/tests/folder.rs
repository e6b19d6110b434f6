//! Files of the import folder become images, whole or not at all.

use super::super::qcow2::made::{Cluster, qcow2};
use super::*;

impl Rig {
    fn lay(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join("import").join(name), bytes).expect("written");
    }

    async fn import(&self, wanted: FromFolder) -> Result<Arc<Image>, ImageError> {
        let imported = self.images.import_from_folder(&self.store, user(), wanted);
        tokio::time::timeout(DEADLINE, imported).await.expect("in time")
    }
}

fn wanted(file: &str) -> FromFolder {
    let visibility = Visibility::Public;
    FromFolder { file: file.into(), name: "debian".into(), checksum: None, owner: None, visibility }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_the_image_that_was_asked_for() {
    let rig = Rig::new(|_| {});
    let bytes = disk(MIB, MIB, 7);
    rig.lay("a.img", &bytes);
    let image = rig.import(wanted("a.img")).await.expect("imported");
    assert_eq!((image.name.as_deref(), image.checksum.clone()), (Some("debian"), Some(sha256(&bytes))));
    assert_eq!((image.card.owner.as_deref(), image.card.visibility), (None, Visibility::Public));
    assert_eq!(image.card.given.as_ref().map(|given| given.size), Some(bytes.len() as u64));
    assert_eq!(rig.provide("debian", None).await.expect("deployable").id, image.id);
    assert!(matches!(rig.import(wanted("a.img")).await, Err(ImageError::Store(_))), "the name is taken");

    // What it is, its content says; and who may use it, the operator.
    let mut cluster = vec![0x11; 1 << 16];
    cluster[510..512].copy_from_slice(&[0x55, 0xaa]);
    let given = qcow2(1 << 20, &[Cluster::Data(cluster)]);
    rig.lay("b.raw", &given);
    let sha512 = Checksum { algorithm: HashAlgorithm::Sha512, hex: hex::encode(Sha512::digest(&given)) };
    let (owner, checksum) = (Some("p".to_owned()), Some(sha512.clone()));
    let private = FromFolder { owner, checksum, visibility: Visibility::Private, ..wanted("b.raw") };
    let image = rig.import(private).await.expect("imported");
    assert_eq!((image.checksum.clone(), image.card.disk_format.as_deref()), (Some(sha512), Some("qcow2")));
    assert!(image.card.is_visible_to(Some("p")) && !image.card.is_visible_to(Some("q")));
    let stored = rig.images.stored(image.id).expect("opened");
    let mut again = vec![0; given.len()];
    stored.read_given(&mut again, 0).expect("read");
    assert!(again == given, "it can be had as it was given");

    let listed = rig.images.import_folder().await.expect("listed");
    let names: Vec<_> = listed.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.img", "b.raw"]);
    rig.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_leaves_nothing() {
    let rig = Rig::new(|settings| settings.max_size = 8 << 20);
    let bytes = disk(MIB, MIB, 8);
    rig.lay("a.img", &bytes);
    rig.lay("text", b"no disk");
    rig.lay("huge", &disk(9 * MIB, MIB, 9));
    let mut vhd = bytes.clone();
    vhd[MIB - 512..][..8].copy_from_slice(b"conectix");
    rig.lay("vhd", &vhd[..MIB]);
    std::fs::write(rig.folder.path().join("secret"), &bytes).expect("written");
    let lie = FromFolder { checksum: Some(sha256(b"other")), ..wanted("a.img") };
    assert!(matches!(rig.import(lie).await, Err(ImageError::Checksum { .. })));
    for (file, words) in
        [("text", "cut off"), ("huge", "larger"), ("vhd", "VHD"), ("../secret", "below"), ("none", "No such"), ("", "")]
    {
        let refused = rig.import(wanted(file)).await.expect_err(file).to_string();
        assert!(refused.contains(words), "{file}: {refused}");
    }
    let bad = FromFolder { name: "http://x".into(), ..wanted("a.img") };
    assert!(matches!(rig.import(bad).await, Err(ImageError::Store(_))));
    rig.nothing_is_left().await;
    assert_eq!((rig.kept(), rig.store.view().images().count()), (0, 0));
}
