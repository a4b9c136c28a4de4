"""The published training step and evaluation in Keras, in a process of its own that answers on a pipe.

    python studies/materials/keras_step.py --pixels 224 --batch 16 --classes 21 --evaluated 256

ResNet50V2 without weights, global max pooling, the published head, teacher and student each from pixels, trained from
`conv5_block1` with batch-norm frozen, Adam and (1 - gamma) CE + gamma KD, in one tf.function. It reads "step",
"evaluate" or "peak" from a line of stdin, does that once and answers with its seconds as a line of JSON. TensorFlow is
imported here and nowhere else; nothing of fer_jax is.
"""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import tensorflow as tf

GAMMA, TEMPERATURE, BASE = 0.1, 3.0, 6
CUT = "conv5_block1"


def model(pixels: int, classes: int) -> keras.Model:
    """Backbone and head of the published code, logits out; trainable from the cut on, batch-norm nowhere."""
    backbone = keras.applications.ResNet50V2(
        include_top=False, weights=None, input_shape=(pixels, pixels, 3), pooling="max"
    )
    inputs = keras.Input((pixels, pixels, 3))
    x = backbone(inputs, training=False)
    for width in (512, 32):
        x = keras.layers.Dense(width, activation="sigmoid")(keras.layers.Dropout(0.2)(x))
    built = keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Dropout(0.2)(x)))
    reached = False
    for layer in backbone.layers:
        reached = reached or layer.name.startswith(CUT)
        layer.trainable = reached and not isinstance(layer, keras.layers.BatchNormalization)
    return built


def training_step(pixels: int, batch: int, classes: int):
    """A function that makes one step and returns its loss."""
    teacher, student = model(pixels, BASE), model(pixels, classes)
    student.layers[1].set_weights(teacher.layers[1].get_weights())
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(student.trainable_variables)
    lost = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    generator = np.random.default_rng(0)
    images = tf.constant(generator.random((batch, pixels, pixels, 3), np.float32))
    labels = tf.constant(generator.integers(0, classes, batch))

    @tf.function
    def step():
        known = teacher(images, training=False)
        padded = tf.concat([known, tf.zeros((batch, classes - BASE))], 1)
        with tf.GradientTape() as tape:
            logits = student(images, training=True)
            soft = keras.losses.categorical_crossentropy(
                tf.nn.softmax(padded / TEMPERATURE), tf.nn.softmax(logits / TEMPERATURE)
            )
            loss = (1 - GAMMA) * lost(labels, logits) + GAMMA * tf.reduce_mean(soft)
        gradients = tape.gradient(loss, student.trainable_variables)
        optimizer.apply_gradients(zip(gradients, student.trainable_variables, strict=True))
        return loss

    return step, student


def main() -> None:
    """Builds both networks, then answers line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("pixels", "batch", "classes", "evaluated"):
        parser.add_argument(f"--{name}", type=int, required=True)
    a = parser.parse_args()
    # What a library prints must not stand among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    step, student = training_step(a.pixels, a.batch, a.classes)
    held = np.random.default_rng(1).random((a.evaluated, a.pixels, a.pixels, 3), np.float32)
    square = tf.random.normal((2048, 2048))
    product = tf.function(lambda: tf.matmul(square, square))
    work = {
        "step": lambda: float(step()),
        "evaluate": lambda: student.predict(held, batch_size=64, verbose=0),
        "peak": lambda: float(product()[0, 0]),
    }
    trained = sum(int(np.prod(v.shape)) for v in student.trainable_variables)
    for function in work.values():
        function()
    told = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__, "trained": trained}
    print(json.dumps(told), file=answers, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        work[line.strip()]()
        print(json.dumps(time.perf_counter() - began), file=answers, flush=True)


if __name__ == "__main__":
    main()
