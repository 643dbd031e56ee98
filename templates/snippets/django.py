# pip install django "pyjwt[crypto]"; save as views.py; in urls.py: path("me", views.me)
from functools import wraps

import jwt
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

{% include "snippets/check.py" %}


def needs(scope=""):
    def decorate(view):
        @csrf_exempt  # a token is sent on purpose, not by a browser on its own as a cookie is
        @wraps(view)
        def checked(request, *args, **kwargs):
            try:
                request.claims = check(request.headers.get("Authorization"), scope)
            except Refused as refused:
                return JsonResponse({"error": refused.error}, status=refused.status, headers=refused.headers)
            return view(request, *args, **kwargs)

        return checked

    return decorate


@needs({{ self.0.scope }})
def me(request):
    return JsonResponse({"sub": request.claims["sub"], "scope": request.claims.get("scope", "")})
