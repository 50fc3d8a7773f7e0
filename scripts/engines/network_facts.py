"""What is known of an exported network: python network_facts.py FILE. Needs onnx and onnxruntime.

Prints a JSON object: multiply-accumulates of an image, weights, and the logits of the first image
of the noise that all engines get.
"""

import json
import sys

from conv_model import noise
from network_model import SIDE, macs_and_weights, network_model
from session_onnxruntime import Session


def main():
    path = sys.argv[1]
    macs, weights = macs_and_weights(path)
    session = Session(network_model(path, 1), noise((1, 3, SIDE, SIDE), 2), 1)
    session.run()
    logits = session.output()[0].tolist()
    print(json.dumps({"macs": macs, "weights": weights, "logits": logits}))


if __name__ == "__main__":
    main()
