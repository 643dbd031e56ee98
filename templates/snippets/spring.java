// Spring Boot 3.5 or newer with spring-boot-starter-web and spring-boot-starter-oauth2-resource-server (from Boot 4 on
// spring-boot-starter-security-oauth2-resource-server); save as SecurityConfig.java beside your @SpringBootApplication
import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.net.MalformedURLException;
import java.net.URI;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
{%- let needed = self.0.authorities() %}
{%- if needed.len() > 1 %}
import org.springframework.security.authorization.AuthorityAuthorizationManager;
import org.springframework.security.authorization.AuthorizationManagers;
{%- endif %}
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.config.http.SessionCreationPolicy;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.jwt.Jwt;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@Configuration
class SecurityConfig {
    // A revoked token is good here until it expires: keep tokens.access_ttl short, ask /introspect (Spring's opaqueToken),
    // or read the status list as the recipe in grantd's examples/validators says.
    @Bean
    JwtDecoder jwtDecoder() throws MalformedURLException {
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(
            // Never what the token says; a client with another --alg needs that here, too.
            Set.of({{ self.0.algorithms("JWSAlgorithm.", "") }}),
            // Nimbus keeps the keys for 5 minutes, gives up early, and looks for new ones when it meets an unknown kid, but
            // seldom. Spring's own withJwkSetUri has neither timeouts nor such a limit.
            JWKSourceBuilder.create(URI.create({{ self.0.jwks_uri }}).toURL()).build()));
        // By default Nimbus takes "JWT" only, and Spring below wants what RFC 9068 section 4 does.
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(
            new JOSEObjectType("at+jwt"), new JOSEObjectType("application/at+jwt")));
        processor.setJWTClaimsSetVerifier((claims, context) -> {}); // Spring checks the claims
        var decoder = new NimbusJwtDecoder(processor);
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator()
            .issuer({{ self.0.issuer }})
            .audience({{ self.0.audience }}) // this service; a token for another one is not for us
            .validators(all -> all.put("client_id", new JwtClaimValidator<Object>("client_id", Objects::nonNull)))
            // Bound to a key (DPoP): who sends it as a bearer token may have stolen it.
            .validators(all -> all.put("cnf", new JwtClaimValidator<Object>("cnf", Objects::isNull)))
            .build());
        return decoder;
    }

    @Bean
    SecurityFilterChain api(HttpSecurity http) throws Exception {
        return http
            .authorizeHttpRequests(requests -> requests
                .requestMatchers("/me").
{%- match needed.as_slice() %}
{%- when [] %}authenticated()
{%- when [one] %}hasAuthority({{ one }})
{%- else %}access(AuthorizationManagers.allOf(

                    {%- for one in needed %}
                    AuthorityAuthorizationManager.hasAuthority({{ one }}){% if !loop.last %},{% endif %}
                    {%- endfor %}))
{%- endmatch %}
                .anyRequest().authenticated())
            .oauth2ResourceServer(server -> server.jwt(Customizer.withDefaults())) // 401 and 403 as RFC 6750 says
            .sessionManagement(session -> session.sessionCreationPolicy(SessionCreationPolicy.STATELESS))
            .csrf(csrf -> csrf.disable()) // a token is sent on purpose, not by a browser on its own as a cookie is
            .build();
    }
}

@RestController
class MeController {
    @GetMapping("/me")
    Map<String, Object> me(@AuthenticationPrincipal Jwt token) {
        return Map.of("sub", token.getSubject(), "scope", Objects.toString(token.getClaimAsString("scope"), ""));
    }
}
