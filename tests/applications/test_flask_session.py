"""Flask-Session 0.8 on one shard. It needs no scripts."""

import datetime
import time
import unittest

import flask
import flask_session

import shard


def application(lifetime):
    """An application that counts the visits of each session, and whose sessions last so many seconds."""
    app = flask.Flask("counts")
    app.config |= {
        "SESSION_TYPE": "redis",
        "SESSION_REDIS": shard.client(),
        "PERMANENT_SESSION_LIFETIME": datetime.timedelta(seconds=lifetime),
    }
    flask_session.Session(app)

    @app.get("/")
    def visit():
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return str(flask.session["visits"])

    @app.get("/logout")
    def logout():
        flask.session.clear()
        return ""

    return app


def visit(browser, path="/"):
    answer = browser.get(path)
    if answer.status_code != 200:
        raise RuntimeError(answer.status)
    return answer.text


class FlaskSession(unittest.TestCase):
    def test_sessions_are_kept_apart_and_end(self):
        app = application(lifetime=100)
        first, second = app.test_client(), app.test_client()
        self.assertEqual([visit(first) for _ in range(3)], ["1", "2", "3"])
        self.assertEqual(visit(second), "1")
        # Another process finds the session: it is in the store.
        other = application(lifetime=100).test_client()
        other.set_cookie("session", first.get_cookie("session").value)
        self.assertEqual(visit(other), "4")
        visit(first, "/logout")
        self.assertEqual(visit(first), "1")
        with shard.client() as client:
            key = f"session:{second.get_cookie('session').value}"
            self.assertIn(client.ttl(key), range(90, 101))

    def test_a_session_expires(self):
        browser = application(lifetime=1).test_client()
        self.assertEqual(visit(browser), "1")
        with shard.client() as client:
            key = f"session:{browser.get_cookie('session').value}"
            self.assertTrue(client.exists(key))
            time.sleep(1.3)
            self.assertFalse(client.exists(key))


class FlaskSessionThroughAFailover(unittest.TestCase):
    def test_no_acknowledged_visit_is_lost(self):
        """Guarantee: what a request was answered for is there in the next one. A session is written whole, so a retry
        changes nothing."""
        browser = application(lifetime=1000).test_client()
        visits = []
        with shard.Failover() as failover:
            acknowledged = shard.send_through(failover, lambda _: visits.append(int(visit(browser))))
        self.assertEqual(visits, list(range(1, len(acknowledged) + 1)))
        print(f"Flask-Session: {len(visits)} visits, each saw the one before")


if __name__ == "__main__":
    unittest.main(verbosity=2)
