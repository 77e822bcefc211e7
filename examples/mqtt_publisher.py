"""Publishes what is said over MQTT, for Home Assistant, Node-RED and whatever else listens to a broker.

    pip install edgeasr paho-mqtt
    python mqtt_publisher.py --host localhost --topic home/kitchen/speech

Each utterance is a message in JSON: `{"text": ..., "confidence": ..., "start": ..., "end": ...}`, in seconds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgeasr import Recognizer
from edgeasr.audio import open_audio
from edgeasr.events import Final
from edgeasr.microphone import Microphone


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Publishes what is said over MQTT.")
    parser.add_argument("--host", default="localhost", help="the broker (default: localhost)")
    parser.add_argument("--port", type=int, default=1883, help="(default: 1883)")
    parser.add_argument("--topic", default="edgeasr/speech", help="(default: edgeasr/speech)")
    parser.add_argument("--sound", help="a sound file instead of the microphone")
    args = parser.parse_args(argv)
    recognizer = Recognizer()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(args.host, args.port)
    client.loop_start()  # in a thread of its own; it connects again by itself
    try:
        with open_audio(args.sound, 16000) if args.sound else Microphone() as source:
            for event in recognizer.listen(source):
                if isinstance(event, Final):
                    confidence = round(event.segment.confidence, 3)
                    message = {"text": event.text, "confidence": confidence, "start": event.start, "end": event.end}
                    client.publish(args.topic, json.dumps(message), qos=1).wait_for_publish(timeout=10)
    finally:
        client.disconnect()
        client.loop_stop()


if __name__ == "__main__":
    main()
