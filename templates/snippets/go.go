// go mod init service && go get github.com/MicahParks/keyfunc/v3 github.com/golang-jwt/jwt/v5 golang.org/x/time; save as
// main.go; start with: go run .
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

const issuer = {{ self.0.issuer }}
const jwksURI = {{ self.0.jwks_uri }}

var parser = jwt.NewParser(
	jwt.WithIssuer(issuer),
	jwt.WithAudience({{ self.0.audience }}), // this service; a token for another one is not for us
	// Never what the token says; a client with another --alg needs that here, too.
	jwt.WithValidMethods([]string{ {{- self.0.algorithms("\"", "\"") -}} }),
	jwt.WithExpirationRequired(), // without this, a token without exp is good for ever
	jwt.WithLeeway(5*time.Second),
)

// A revoked token is good here until it expires: keep tokens.access_ttl short, ask /introspect, or read the status list
// as grantd's examples/validators do.

type claims struct {
	jwt.RegisteredClaims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Cnf      any    `json:"cnf"`
}

// needs calls next for who has a good token with every scope of scope, and refuses others by RFC 6750 section 3.
func needs(keys keyfunc.Keyfunc, scope string, next func(http.ResponseWriter, *http.Request, *claims)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		refuse := func(status int, code, challenge string) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q%s", issuer, challenge))
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"error": code})
		}
		scheme, sent, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "bearer") || sent == "" {
			refuse(http.StatusUnauthorized, "invalid_token", "") // no error in the challenge for who sent no token
			return
		}
		held := &claims{}
		token, err := parser.ParseWithClaims(sent, held, keys.KeyfuncCtx(r.Context()))
		// RFC 9068 section 2.2: what must be there beside what the parser has checked. And a token with cnf is bound to a
		// key (DPoP): who sends it as a bearer token may have stolen it.
		if err != nil || held.Subject == "" || held.ClientID == "" || held.ID == "" || held.IssuedAt == nil ||
			held.Cnf != nil || !isAccessToken(token) {
			refuse(http.StatusUnauthorized, "invalid_token", `, error="invalid_token"`)
			return
		}
		has := strings.Fields(held.Scope)
		for _, one := range strings.Fields(scope) {
			if !slices.Contains(has, one) {
				refuse(http.StatusForbidden, "insufficient_scope", fmt.Sprintf(`, error="insufficient_scope", scope=%q`, scope))
				return
			}
		}
		next(w, r, held)
	}
}

// RFC 9068 section 4: an ID token, or another JWT of the same issuer, is no access token.
func isAccessToken(token *jwt.Token) bool {
	typ, _ := token.Header["typ"].(string)
	return strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt")
}

func main() {
	emptyIsFine := false // by default it would start without keys, and refuse everybody
	keys, err := keyfunc.NewDefaultOverrideCtx(context.Background(), []string{jwksURI}, keyfunc.Override{
		HTTPTimeout:               3 * time.Second,
		NoErrorReturnFirstHTTPReq: &emptyIsFine,
		RefreshInterval:           5 * time.Minute, // by default an hour, in which a retired key stays good
		// For an unknown kid it looks for new keys, but not more often than this: anybody can invent one. Without the
		// second line, such a request would wait until it may.
		RefreshUnknownKID: rate.NewLimiter(rate.Every(5*time.Second), 1),
		RateLimitWaitMax:  time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /me", needs(keys, {{ self.0.scope }}, func(w http.ResponseWriter, r *http.Request, c *claims) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"sub": c.Subject, "scope": c.Scope})
	}))
	log.Fatal(http.ListenAndServe("127.0.0.1:9000", nil))
}
