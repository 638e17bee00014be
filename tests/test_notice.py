"""Warnings about something that lasts are said once, and again when it comes back."""

from __future__ import annotations

import logging

import pytest

from gadask.clusters.notice import Notice


def test_each_reason_is_said_once_until_all_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    notice = Notice(logging.getLogger("gadask"))
    for reason in ("no answer within 120 s", "busy", "no answer within 119 s", "busy"):
        notice.tell(reason, "the queue is away")
    assert caplog.messages == ["the queue is away: no answer within 120 s", "the queue is away: busy"]
    assert notice.reason == "busy"
    notice.clear()
    assert notice.reason == ""
    notice.tell("busy", "the queue is away")
    assert caplog.messages[2:] == ["the queue is away: busy"]
