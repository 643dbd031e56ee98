#!/usr/bin/env python3
"""Serves the view that `grantd snippet django` prints, as views.py in this directory: python django_service.py PORT"""

import sys
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="nothing is signed with it")

import views  # noqa: E402  as in a project, after the settings

urlpatterns = [path("me", views.me)]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
