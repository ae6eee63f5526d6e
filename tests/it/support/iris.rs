//! The iris project, from its model to its predictions: the walk that most end-to-end tests begin with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use walkdir::WalkDir;

use super::context::TestContext;
use super::peers::{self, Venv};
use super::sources::repository;
use super::web::{self, Address};

/// The tag of the bento that [`TestContext::build_iris`] builds.
pub(crate) const IRIS: &str = "iris_classifier:v1";

/// Flowers of each species, in the order of the data set's columns.
const FLOWERS: [[f64; 4]; 4] =
    [[5.1, 3.5, 1.4, 0.2], [6.1, 2.8, 4.7, 1.2], [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 5.1, 1.8]];

/// The classifier as the project's script has saved it, once for all tests: starting Python and importing scikit-learn
/// takes longer than most of them.
static TRAINED: OnceLock<Trained> = OnceLock::new();

/// A model that was trained, and the files of all versions of its name.
struct Trained {
    tag: String,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Trained {
    fn by_the_script(context: &TestContext) -> Self {
        let script = repository().join("testdata/projects/iris/train.py");
        let tag = context.python([]).arg(script).run().stdout.trim().to_owned();
        let store = context.bentoml_home().join("models/iris_clf");
        let entries = WalkDir::new(&store).into_iter().map(|entry| entry.expect("the store can be walked"));
        let files = entries.filter(|entry| entry.file_type().is_file()).map(|entry| {
            let path = entry.path().strip_prefix(&store).expect("the walk started there");
            (path.to_owned(), fs::read(entry.path()).expect("a stored file can be read"))
        });
        let files = files.collect();
        Self { tag, files }
    }
}

impl TestContext {
    /// Puts the trained classifier into the model store, where it is alone of its name, and returns its tag.
    pub(crate) fn train_iris(&self) -> String {
        let trained = TRAINED.get_or_init(|| Trained::by_the_script(&Self::new()));
        for (path, content) in &trained.files {
            let path = self.bentoml_home().join("models/iris_clf").join(path);
            fs::create_dir_all(path.parent().expect("it is below the home"))
                .expect("a directory can be made");
            fs::write(path, content).expect("a file can be written");
        }
        trained.tag.clone()
    }

    /// Trains the model, and builds the bento [`IRIS`] from a copy of the project; returns the model's tag.
    pub(crate) fn build_iris(&self) -> String {
        let model = self.train_iris();
        self.build_iris_in(&self.project("iris"));
        model
    }

    /// Builds the bento [`IRIS`] from a project whose model is in the store.
    pub(crate) fn build_iris_in(&self, project: &Path) {
        let output = self.ekiben(["build", "--version", "v1", "-o", "tag"]).arg(project).run();
        assert_eq!(output.stdout.trim(), format!("__tag__:{IRIS}"));
    }

    /// Trains the classifier with upstream's package.
    pub(crate) fn train_iris_upstream(&self) -> String {
        let script = repository().join("testdata/projects/iris/train.py");
        self.command(&peers::program(Venv::Upstream, "python"))
            .arg(script)
            .any_stderr()
            .run()
            .stdout
            .trim()
            .to_owned()
    }

    /// Builds the project with upstream's tool and returns the bento's tag.
    pub(crate) fn build_iris_upstream(&self) -> String {
        let project = self.project("iris");
        let output = self.bentoml(["build", "-o", "tag"]).directory(&project).any_stderr().run();
        let tag = output.stdout.lines().find_map(|line| line.strip_prefix("__tag__:"));
        tag.unwrap_or_else(|| panic!("no tag in\n{}", output.stdout)).to_owned()
    }

    /// What the stored model says of the flowers when it is called directly.
    pub(crate) fn predict_in_process(&self) -> Value {
        let program = "import json, sys, bentoml\n\
            model = bentoml.sklearn.load_model('iris_clf:latest')\n\
            print(json.dumps(model.predict(json.loads(sys.argv[1])).tolist()))";
        self.python(["-c", program]).arg(json!(FLOWERS).to_string()).run().json()
    }
}

/// What a service at that address says of the flowers.
pub(crate) fn predict_at(address: Address) -> Value {
    web::post(address, "/predict", &json!({"input_data": FLOWERS})).json()
}

/// The service answers on all its routes, and as the model itself would.
pub(crate) fn assert_serves(address: Address, expected: &Value) {
    assert_eq!(&predict_at(address), expected);
    let flower = json!({"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2});
    let answer = web::post(address, "/classify", &json!({ "flower": flower })).json();
    assert_eq!(answer["name"], "setosa");
    let refused = web::post(address, "/classify", &json!({"flower": {"sepal_length": -1}}));
    assert_eq!(refused.status, 400, "{}", refused.body);
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/schema.json", "/docs.json"] {
        let response = web::get(address, path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(response.status, 200, "{path}: {}", response.body);
    }
}
