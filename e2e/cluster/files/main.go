// Command files is what a pod without a shell needs so that a test can look into its volume:
//
//	files make FOLDER...   makes folders
//	files wait             waits for SIGTERM
//	files cat FOLDER       writes what is in the visible files of a folder, one behind the other
//	files list FOLDER      names all files below a folder, with their sizes
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("what to do?")
	}
	switch command, paths := arguments[0], arguments[1:]; command {
	case "make":
		for _, path := range paths {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
		}
		return nil
	case "wait":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		<-signals
		return nil
	case "cat":
		return each(paths, cat)
	case "list":
		return each(paths, list)
	default:
		return fmt.Errorf("what is %q?", command)
	}
}

func each(paths []string, do func(string) error) error {
	for _, path := range paths {
		// Nothing was written yet.
		if err := do(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func cat(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func list(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Printf("%d %s\n", info.Size(), path)
		}
		return err
	})
}
