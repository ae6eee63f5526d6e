"""Framework modules: ``save_model`` and ``load_model`` for one library each, which only its own module imports.

To add one: its file here, and its name in ``FRAMEWORKS``.
"""

FRAMEWORKS = (
    "catboost",
    "detectron",
    "diffusers",
    "easyocr",
    "fastai",
    "flax",
    "keras",
    "lightgbm",
    "mlflow",
    "onnx",
    "picklable_model",
    "pytorch",
    "pytorch_lightning",
    "sklearn",
    "tensorflow",
    "torchscript",
    "transformers",
    "xgboost",
)
