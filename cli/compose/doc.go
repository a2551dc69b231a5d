// Package compose is `skiff compose`: applications of several containers, as
// docker compose runs them, on any engine that speaks the Docker API. Files are
// read by the compose specification's own library, after legacy has brought those
// of version 1 up to date; plan decides, purely, what has to happen; this package
// observes, acts, and talks to the user. spec says in the API's words what a
// service is; kube writes the application as Kubernetes manifests.
//
// What it makes carries docker compose's names and labels, so that both see each
// other's projects.
package compose
