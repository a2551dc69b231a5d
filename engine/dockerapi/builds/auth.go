package builds

import (
	"context"

	"github.com/moby/buildkit/session"
	bkauth "github.com/moby/buildkit/session/auth"
	"github.com/moby/moby/api/types/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// credentials answers a build that asks for a registry's user.
type credentials struct {
	bkauth.UnimplementedAuthServer
	all map[string]registry.AuthConfig
}

var _ session.Attachable = (*credentials)(nil)

func newCredentials(all map[string]registry.AuthConfig) *credentials {
	return &credentials{all: all}
}

// Register implements session.Attachable.
func (c *credentials) Register(s *grpc.Server) { bkauth.RegisterAuthServer(s, c) }

// Credentials implements BuildKit's auth service.
func (c *credentials) Credentials(_ context.Context, r *bkauth.CredentialsRequest) (*bkauth.CredentialsResponse, error) {
	host := r.Host
	if host == "registry-1.docker.io" {
		host = "https://index.docker.io/v1/"
	}
	a := c.all[host]
	if a.IdentityToken != "" {
		return &bkauth.CredentialsResponse{Secret: a.IdentityToken}, nil
	}
	return &bkauth.CredentialsResponse{Username: a.Username, Secret: a.Password}, nil
}

func (c *credentials) VerifyTokenAuthority(context.Context, *bkauth.VerifyTokenAuthorityRequest) (*bkauth.VerifyTokenAuthorityResponse, error) {
	return nil, status.Error(codes.Unavailable, "client side tokens disabled")
}
