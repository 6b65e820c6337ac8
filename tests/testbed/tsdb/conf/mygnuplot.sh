#!/bin/sh
# A TSD looks for its graph script on the class path and 2.3 does not start without one. Nothing draws here.
