// go-git-client makes go-git usable from a shell: clone and fetch, nothing else.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
)

const usage = "usage: go-git-client clone URL DIR | fetch DIR  [--depth N] [--user U --password P]"

type options struct {
	depth int
	auth  transport.AuthMethod
}

// parseOptions reads what follows the positional arguments; the flag package stops at those.
func parseOptions(args []string) (options, error) {
	flags := flag.NewFlagSet("go-git-client", flag.ContinueOnError)
	depth := flags.Int("depth", 0, "")
	user := flags.String("user", "", "")
	password := flags.String("password", "", "")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if *user == "" {
		return options{depth: *depth}, nil
	}
	return options{*depth, &http.BasicAuth{Username: *user, Password: *password}}, nil
}

func clone(url, dir string, o options) error {
	_, err := git.PlainClone(dir, false, &git.CloneOptions{URL: url, Depth: o.depth, Auth: o.auth})
	return err
}

func fetch(dir string, o options) error {
	repository, err := git.PlainOpen(dir)
	if err != nil {
		return err
	}
	err = repository.Fetch(&git.FetchOptions{Depth: o.depth, Auth: o.auth})
	if errors.Is(err, git.NoErrAlreadyUpToDate) {
		return nil
	}
	return err
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "clone":
		o, err := parseOptions(args[3:])
		if err != nil {
			return err
		}
		return clone(args[1], args[2], o)
	case len(args) >= 2 && args[0] == "fetch":
		o, err := parseOptions(args[2:])
		if err != nil {
			return err
		}
		return fetch(args[1], o)
	}
	return errors.New(usage)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
