"""Saves and loads models of stand-in frameworks with whichever ``bentoml`` this Python has; prints what happened.

python fake_models.py save HOME METADATA
python fake_models.py load HOME METADATA
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import fakes

KEPT = {"labels": {"owner": "team"}, "external_modules": [fakes]}


def torch_module() -> Any:
    return sys.modules["torch.nn"].Module([1, 2])


def config() -> Any:
    node = sys.modules["detectron2.config"].CfgNode
    return node(MODEL=node(DEVICE="cpu"), WEIGHTS=[3, 4])


def saved(bentoml: Any) -> dict[str, Any]:
    """Return what saves the model of each case, under a name."""
    modules = sys.modules
    diffusers = modules["diffusers"]
    return {
        "tensorflow": lambda name: bentoml.tensorflow.save_model(
            name, modules["tensorflow"].Module([1]), metadata={"m": 1}, **KEPT
        ),
        "tensorflow-given": lambda name: bentoml.tensorflow.save_model(
            name,
            fakes.Plain(weights=[2]),
            tf_signatures="given",
            tf_save_options={"o": 1},
            signatures={"run": {"batchable": True, "batch_dim": (0, 1)}},
        ),
        "tensorflow-plain": lambda name: bentoml.tensorflow.save_model(name, fakes.Plain(weights=[2])),
        "keras": lambda name: bentoml.keras.save_model(
            name, modules["keras"].Sequential([1]), custom_objects={"Layer": len}, **KEPT
        ),
        "keras-optimizer": lambda name: bentoml.keras.save_model(
            name, modules["keras"].Model([1]), include_optimizer=True, tf_save_options={"o": 1}, tf_signatures="s"
        ),
        "flax": lambda name: bentoml.flax.save_model(
            name, modules["flax.linen"].Module(4), {"params": 1}, custom_objects={"other": [1]}, **KEPT
        ),
        "fastai": lambda name: bentoml.fastai.save_model(name, modules["fastai.learner"].Learner([5]), **KEPT),
        "easyocr": lambda name: bentoml.easyocr.save_model(name, modules["easyocr"].Reader(["en"]), **KEPT),
        "detectron": lambda name: bentoml.detectron.save_model(
            name, modules["detectron2.engine"].DefaultPredictor(config()), metadata={"m": 1}, **KEPT
        ),
        "detectron-module": lambda name: bentoml.detectron.save_model(name, torch_module(), config=config()),
        "diffusers": lambda name: bentoml.diffusers.save_model(name, diffusers.DiffusionPipeline([7]), **KEPT),
        "diffusers-imported": lambda name: bentoml.diffusers.import_model(name, imported_folder(), metadata={"m": 1}),
        "diffusers-options": lambda name: bentoml.diffusers.import_model(
            name, imported_folder(), variant="fp16", pipeline_class="diffusers.StableDiffusionPipeline"
        ),
    }


def imported_folder() -> str:
    """Return a pipeline's directory, as an import finds it."""
    folder = Path(os.environ["BENTOML_HOME"], "to-import")
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    (folder / ".git" / "config").write_text("left out")
    (folder / "unet").mkdir(exist_ok=True)
    (folder / "unet" / "weights").write_text("w")
    (folder / "model_index.json").write_text("[8]")
    return str(folder)


def loaded(bentoml: Any) -> dict[str, Any]:
    """Return what loads the model of each case, and says what it got."""
    diffusers = sys.modules["diffusers"]
    return {
        "tensorflow": lambda name: bentoml.tensorflow.load_model(name),
        "tensorflow-given": lambda name: bentoml.tensorflow.load_model(name, "/device:GPU:0"),
        "tensorflow-plain": lambda name: bentoml.tensorflow.load_model(bentoml.tensorflow.get(name)),
        "keras": lambda name: bentoml.keras.load_model(name),
        "keras-optimizer": lambda name: bentoml.keras.load_model(name, device_name="/device:GPU:0"),
        "flax": lambda name: [
            (module.size, state)
            for module, state in (
                bentoml.flax.load_model(name),
                bentoml.flax.load_model(name, init=False, device="gpu"),
            )
        ],
        "fastai": lambda name: bentoml.fastai.load_model(name),
        "easyocr": lambda name: bentoml.easyocr.load_model(name).languages,
        "detectron": lambda name: [
            type(predictor).__name__
            for predictor in (bentoml.detectron.load_model(name), bentoml.detectron.load_model(name, "cuda:1"))
        ],
        "detectron-module": lambda name: bentoml.detectron.load_model(name).weights,
        "diffusers": lambda name: (
            bentoml.diffusers.load_model(
                name, device_id="cpu", enable_attention_slicing="auto", scheduler_class=diffusers.SchedulerMixin
            ).weights
        ),
        "diffusers-imported": lambda name: (
            bentoml.diffusers.load_model(
                name,
                "cuda:0",
                "diffusers.StableDiffusionPipeline",
                enable_model_cpu_offload=True,
                lora_weights={"model_name": "some/lora", "weight_name": "w"},
                textual_inversions=["a.bin", {"model_name": "some/inversion", "token": "t"}],
            ).weights
        ),
        "diffusers-options": lambda name: (
            bentoml.diffusers.load_model(
                name, variant="fp16", load_pretrained_extra_kwargs={"safety_checker": None}
            ).weights
        ),
    }


def described(model: Any) -> dict[str, Any]:
    """Return the files of a stored model; pickles by what they hold."""
    root = Path(model.path)
    return {
        "files": sorted(str(path.relative_to(root)) for path in root.rglob("*")),
        "texts": {
            str(path.relative_to(root)): path.read_text()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.suffix != ".pkl" and path.name != "model.yaml"
        },
        "custom_objects": sorted(model.custom_objects),
        "description": [
            line
            for line in (root / "model.yaml").read_text().splitlines()
            if not line.startswith(("creation_time: ", "  python_version: "))
        ],
    }


def main(step: str, home: str, metadata: str) -> None:
    """Do one step for all cases."""
    os.environ["BENTOML_HOME"] = home
    fakes.install(Path(metadata))
    warnings.simplefilter("ignore")
    logging.disable()
    import bentoml

    answers: dict[str, Any] = {}
    for case, action in (saved if step == "save" else loaded)(bentoml).items():
        fakes.CALLS.clear()
        answer = action(f"{case}:v1")
        model = bentoml.models.get(f"{case}:v1")
        if step == "save":
            answer = described(model)
        # Upstream and the SDK prepare a model in different places.
        places = (str(getattr(model, "path", "")), home)
        calls = [call for call in fakes.CALLS if not call.startswith("build_model") or step == "load"]
        answers[case] = {"answer": answer, "calls": [relative(call, places) for call in calls]}
    sys.stdout.write("ANSWER" + json.dumps(answers))


def relative(call: str, places: tuple[str, ...]) -> str:
    """Return a call with the model's directory as ``$MODEL``, wherever that was."""
    import re

    for place in places[:1]:
        call = call.replace(place, "$MODEL")
    # While being saved: upstream's directory in the system's, the SDK's in the home's.
    return re.sub(r"'/[^']*?/(bentoml-model-[^/']*|ekiben-staging-[^/']*/content)", "'$MODEL", call)


if __name__ == "__main__":
    main(*sys.argv[1:])
