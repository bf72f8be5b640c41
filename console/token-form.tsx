import { useState } from 'preact/hooks';
import { signIn } from './sign-in';

export function TokenForm() {
  const [error, setError] = useState<string>();
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const token = new FormData(event.target as HTMLFormElement).get('token') as string;
    setError(undefined);
    signIn(token.trim()).catch(({ message }: Error) => setError(message));
  };
  return (
    <main class="alone">
      <form class="card token" onSubmit={submit}>
        <h1>Mesh console</h1>
        <label for="token">Token of an administrator or a reader</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required autofocus />
        {error && (
          <p class="bad" role="alert">
            ✕ {error}
          </p>
        )}
        <button type="submit">Sign in</button>
      </form>
    </main>
  );
}
