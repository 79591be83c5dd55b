"""Features in ONNX, for programs without Python: machines alone and in pipelines, through skl2onnx."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.support.checks import check_choice, optional
from skrbm.support.files import check_folder, write_atomically


def register() -> None:
    """Let skl2onnx know how to convert `BernoulliRBMTorch`, wherever it stands in a model.

    Raises
    ------
    ImportError
        If skl2onnx is missing.

    Notes
    -----
    The output is that of `transform`, P(h = 1 | v) = σ(Wv + c), in the float type of the input; float32 for whole
    numbers.
    """
    _skl2onnx().update_registered_converter(BernoulliRBMTorch, "SkrbmBernoulliRBMTorch", _set_output_shape, _convert)


def to_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "float32",
    target_opset: int | None = None,
) -> Any:
    """A fitted machine, or a pipeline with one, as an ONNX model.

    Parameters
    ----------
    model : BernoulliRBMTorch, Pipeline or other estimator
        Whose steps skl2onnx can convert, and which takes a matrix of numbers. For other input, such as columns by name,
        call `register` and then `skl2onnx.to_onnx(model, frame[:1])`, which makes an input for each column.
    path : str or path-like, optional
        A file to write it to as well, atomically.
    dtype : {"float32", "float64"}
        Float type of the input, and so of what is computed.
    target_opset : int, optional
        Version of ONNX's operators; by default the latest that skl2onnx knows.

    Returns
    -------
    onnx.ModelProto
        With the input "X" of shape (any, n_features), columns in the order of training, whose names are in its metadata
        as `feature_names` if there were any. The output of a machine is "variable"; a classifier has "label" and
        "probabilities", of shape (any, n_classes).

    Raises
    ------
    NotFittedError, ValueError
        If the model isn't fitted, or takes columns by name, or `dtype` isn't known.
    ImportError, FileNotFoundError
        If skl2onnx is missing, or there is no such folder.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import BernoulliRBMTorch
    >>> from skrbm.onnx import to_onnx
    >>> rbm = BernoulliRBMTorch(n_hidden=4, n_iter=1).fit(np.eye(8))
    >>> to_onnx(rbm, "rbm.onnx")  # doctest: +SKIP
    """
    check_choice("dtype", dtype, ("float32", "float64"))
    check_is_fitted(model)
    if path is not None:
        check_folder("path", path)
    register()
    types = _skl2onnx(".common.data_types")
    number = types.FloatTensorType if dtype == "float32" else types.DoubleTensorType
    try:
        found = _skl2onnx().to_onnx(
            model,
            initial_types=[("X", number([None, model.n_features_in_]))],
            options={"zipmap": False} if is_classifier(model) else None,
            target_opset=target_opset,
        )
    except RuntimeError as error:
        if "find column name" not in str(error):
            raise
        raise ValueError(
            "The model takes columns by name, as a ColumnTransformer does, but to_onnx makes a single input, a matrix. "
            "Call skrbm.onnx.register(), then skl2onnx.to_onnx(model, frame[:1]), which makes an input for each column."
        ) from error
    if hasattr(model, "feature_names_in_"):
        names = json.dumps([str(name) for name in model.feature_names_in_])
        found.metadata_props.add(key="feature_names", value=names)
    if path is not None:
        write_atomically(path, lambda file: file.write(found.SerializeToString()))
    return found


def _skl2onnx(module: str = "") -> Any:
    return optional(f"skl2onnx{module}", "ONNX", "onnx")


def _set_output_shape(operator: Any) -> None:
    """Check what goes into the machine, and say what comes out."""
    rbm, (given,) = operator.raw_operator, operator.inputs
    check_is_fitted(rbm)
    types = _skl2onnx(".common.data_types")
    n_rows, n_columns = given.type.shape
    n_hidden, n_features = np.shape(rbm.components_)
    if n_columns is not None and n_columns != n_features:
        raise ValueError(f"The input has {n_columns} columns, but the machine was fitted with {n_features} features.")
    is_double = isinstance(given.type, types.DoubleTensorType)
    operator.outputs[0].type = (types.DoubleTensorType if is_double else types.FloatTensorType)([n_rows, n_hidden])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add σ(XW' + c) to the graph."""
    ops, types = _skl2onnx(".algebra.onnx_ops"), _skl2onnx(".common.data_types")
    rbm, X, version = operator.raw_operator, operator.inputs[0], container.target_opset
    dtype = types.guess_numpy_type(operator.outputs[0].type)
    if not isinstance(X.type, types.FloatTensorType | types.DoubleTensorType):
        X = ops.OnnxCast(X, to=types.guess_proto_type(operator.outputs[0].type), op_version=version)
    Wt, c = np.asarray(rbm.components_, dtype).T, np.asarray(rbm.intercept_hidden_, dtype)
    logits = ops.OnnxAdd(ops.OnnxMatMul(X, Wt, op_version=version), c, op_version=version)
    ops.OnnxSigmoid(logits, op_version=version, output_names=operator.outputs).add_to(scope, container)
