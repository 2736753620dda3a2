/** Which page the address asks for. */
import { Empty } from './shell/Notice';
import { linkTo, usePlace } from './shell/navigation';
import { TopBar } from './shell/TopBar';
import { SearchPage } from './search/SearchPage';
import { TracePage } from './page/TracePage';

export function App() {
  const place = usePlace();
  return (
    <>
      <TopBar />
      {place.page === 'search' && <SearchPage address={place.query} />}
      {place.page === 'trace' && <TracePage key={place.id} id={place.id} address={place.query} />}
      {place.page === 'unknown' && (
        <main className="page">
          <Empty title="No such page">
            <p>
              There is nothing at <code>{place.path}</code>. <a {...linkTo('search')}>Search traces</a>
            </p>
          </Empty>
        </main>
      )}
    </>
  );
}
